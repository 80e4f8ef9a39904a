// Moments of a window from the moments of its parts, by the law of total variance, and SSIM from them. The formulas and
// the reason for this form stand in spectac_fast/ops/slice_metrics.py.
#pragma once

#include "math/hd.h"

#if defined(__CUDACC__)
#define SF_UNROLL_TAPS _Pragma("unroll")
#else
#define SF_UNROLL_TAPS _Pragma("GCC unroll 16")
#endif

namespace sf {

constexpr int kGaussianRadius = 5;
constexpr int kUniformRadius = 3;

// Of two images in one window: means, variance of the difference x - y, covariance.
template <class T>
struct Moments {
  T mx, my, d, c;
};

// Weights of a symmetric window of 2 R + 1 taps, from the middle outwards. They sum to one.
template <class T, int R>
struct Window {
  T k[R + 1];
};

// What the caller's data range and choice of covariance do to moments: 1 / range, and norm / range^2.
template <class T>
struct Scales {
  T mean, variance;
};

// `at(i)` gives the moments of part i = -R ... R. kPoints: the parts are pixels, which vary and covary by nothing.
template <bool kPoints, class T, int R, class At>
SF_HD Moments<T> mix(const Window<T, R>& w, const At& at) {
  const Moments<T> m = at(0);
  T sx = 0, sy = 0;
  T qd = kPoints ? T(0) : w.k[0] * m.d, qc = kPoints ? T(0) : w.k[0] * m.c;
  SF_UNROLL_TAPS
  for (int i = 1; i <= R; ++i) {
    const Moments<T> a = at(-i), b = at(i);
    const T ax = a.mx - m.mx, ay = a.my - m.my, bx = b.mx - m.mx, by = b.my - m.my;
    const T ad = ax - ay, bd = bx - by;
    sx += w.k[i] * (ax + bx);
    sy += w.k[i] * (ay + by);
    if (kPoints) {
      qd += w.k[i] * (ad * ad + bd * bd);
      qc += w.k[i] * (ax * ay + bx * by);
    } else {
      qd += w.k[i] * (ad * ad + (bd * bd + (a.d + b.d)));
      qc += w.k[i] * (ax * ay + (bx * by + (a.c + b.c)));
    }
  }
  const T sd = sx - sy;
  return {m.mx + sx, m.my + sy, qd - sd * sd, qc - sx * sy};
}

// SSIM of a window. The denominators are the numerators plus squares, so that equal images give exactly one.
template <class T>
SF_HD T ssim(const Moments<T>& m, const Scales<T>& s) {
  const T dm = s.mean * (m.mx - m.my);
  const T luminance = T(1e-4) + (s.mean * m.mx) * (T(2) * s.mean * m.my);
  const T structure = T(9e-4) + T(2) * s.variance * m.c;
  return luminance * structure / ((luminance + dm * dm) * (structure + s.variance * m.d));
}

// What a window adds to the gradient of SSIM at a pixel of weight k and offsets x, y from the origin, with e = x - y:
// k (from_x - e p + x q) in the first image, k (from_y + e p + y q) in the second.
template <class T>
struct Slopes {
  T from_x, from_y, p, q;
};

template <class T>
struct Origin {
  T x, y;
};

// SSIM of a window as above, and its slopes; the formulas stand in spectac_fast/ops/ssim_loss.py.
template <class T>
SF_HD T ssim_with_slopes(const Moments<T>& m, const Scales<T>& s, const Origin<T>& origin, Slopes<T>& slopes) {
  const T me = s.mean * (m.mx - m.my), mx = s.mean * m.mx, my = s.mean * m.my;
  const T luminance = T(1e-4) + mx * (T(2) * my);
  const T structure = T(9e-4) + T(2) * s.variance * m.c;
  const T a = luminance + me * me, b = structure + s.variance * m.d, inverse = T(1) / (a * b);
  const T p = s.variance * (T(2) * luminance * inverse), q = p * (s.variance * m.d) * (a * inverse);
  const T slope = s.mean * (T(2) * me * structure * inverse), ratio = me * (b * inverse);
  const T pull = p * ((m.mx - m.my) - (origin.x - origin.y));
  slopes.from_x = slope * (mx * ratio - T(1)) + pull - q * (m.mx - origin.x);
  slopes.from_y = slope * (my * ratio + T(1)) - pull - q * (m.my - origin.y);
  slopes.p = p;
  slopes.q = q;
  return luminance * structure / (a * b);
}

}  // namespace sf
