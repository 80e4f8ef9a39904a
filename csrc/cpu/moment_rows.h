// Rows of moments: pixels of any type to T, windows down the columns, windows along the rows. Buffers are as wide as whole
// vectors, and what a loop computes past the end of a row is never used.
#pragma once

#include "math/half.h"
#include "math/moments.h"
#include "slice_metrics.h"

namespace sf {
namespace {

constexpr int kVector = 16;  // elements; a whole number of vectors of every width
constexpr int kOutputs = 256;  // most windows of a row that are worked on together: eleven rows stay in the cache
constexpr int kInputs = kOutputs + 2 * kVector;  // with what the windows at both ends reach, 4 * 5 at most

constexpr int padded(int n) { return (n + kVector - 1) / kVector * kVector; }

SF_HD float widen(float v) { return v; }
SF_HD double widen(double v) { return v; }
SF_HD float widen(uint8_t v) { return float(v); }
SF_HD float widen(uint16_t v) { return float(v); }

// Two types of 16 bits that are no integers.
struct Bfloat16 {
  uint16_t bits;
};
struct Float16 {
  uint16_t bits;
};
SF_HD float widen(Bfloat16 v) { return from_bfloat16(v.bits); }
SF_HD float widen(Float16 v) { return from_float16(v.bits); }

// Pixels from, from + 1, ... of an image, and zeros up to whole vectors.
template <class T, class From>
SF_WIDE void load_row(const void* image, int64_t from, int n, T* __restrict out) {
  const From* in = static_cast<const From*>(image) + from;
  for (int i = 0; i < n; ++i) out[i] = widen(in[i]);
  for (int i = n; i < padded(n); ++i) out[i] = 0;
}

// Asks for pixels that the next row needs, while this one is worked on: rows are too short for the processor to guess.
inline void ask_for(const void* image, int64_t from, int n, int pixel_bytes) {
  const char* start = static_cast<const char*>(image) + from * pixel_bytes;
  for (int at = 0; at < n * pixel_bytes; at += 64) __builtin_prefetch(start + at);
}

template <class T>
using LoadRow = void (*)(const void*, int64_t, int, T*);

inline LoadRow<float> float_loader(Pixel type) {
  switch (type) {
    case Pixel::bfloat16: return load_row<float, Bfloat16>;
    case Pixel::float16: return load_row<float, Float16>;
    case Pixel::uint8: return load_row<float, uint8_t>;
    case Pixel::uint16: return load_row<float, uint16_t>;
    default: return load_row<float, float>;
  }
}

template <class T>
struct MomentRows {
  alignas(64) T mx[kInputs], my[kInputs], d[kInputs], c[kInputs];
};

template <class T, int R>
struct PixelColumn {
  const T* const* x;
  const T* const* y;
  int i;

  SF_HD Moments<T> operator()(int tap) const { return {x[R + tap][i], y[R + tap][i], T(0), T(0)}; }
};

template <class T, int R>
struct MomentWindow {
  const MomentRows<T>& rows;
  int i;

  SF_HD Moments<T> operator()(int tap) const {
    const int at = i + R + tap;
    return {rows.mx[at], rows.my[at], rows.d[at], rows.c[at]};
  }
};

// 2 R + 1 rows of pixels to one row of moments, `n` of them, a multiple of kVector.
template <class T, int R>
SF_WIDE void mix_columns(const Window<T, R>& window, const T* const* x, const T* const* y, int n,
                         MomentRows<T>& __restrict out) {
  const Window<T, R> w = window;
  const T *xs[2 * R + 1], *ys[2 * R + 1];
  for (int tap = 0; tap <= 2 * R; ++tap) {
    xs[tap] = x[tap];
    ys[tap] = y[tap];
  }
  for (int i = 0; i < n; ++i) {
    const Moments<T> m = mix<true>(w, PixelColumn<T, R>{xs, ys, i});
    out.mx[i] = m.mx;
    out.my[i] = m.my;
    out.d[i] = m.d;
    out.c[i] = m.c;
  }
}

// One row of moments to the SSIM of `n` windows, a multiple of kVector.
template <class T, int R>
SF_WIDE void ssim_row(const Window<T, R>& window, const Scales<T>& scales, const MomentRows<T>& rows, int n,
                      T* __restrict out) {
  const Window<T, R> w = window;
  const Scales<T> s = scales;
  for (int i = 0; i < n; ++i) out[i] = ssim(mix<false>(w, MomentWindow<T, R>{rows, i}), s);
}

// Sums are kept in lanes, because one chain of additions would be slow, and in float64, so that they are exact to the digits
// that single values have.
template <class T>
SF_WIDE double sum_of(const T* values, int n) {
  double lanes[kVector] = {};
  for (int i = 0; i + kVector <= n; i += kVector)
    for (int lane = 0; lane < kVector; ++lane) lanes[lane] += double(values[i + lane]);
  for (int i = n / kVector * kVector, lane = 0; i < n; ++i, ++lane) lanes[lane] += double(values[i]);
  double sum = 0.0;
  for (const double lane : lanes) sum += lane;
  return sum;
}

template <class T>
SF_WIDE double sum_of_squares(const T* x, const T* y, int n) {
  double lanes[kVector] = {};
  for (int i = 0; i + kVector <= n; i += kVector)
    for (int lane = 0; lane < kVector; ++lane) {
      const double e = double(x[i + lane]) - double(y[i + lane]);
      lanes[lane] += e * e;
    }
  for (int i = n / kVector * kVector, lane = 0; i < n; ++i, ++lane) {
    const double e = double(x[i]) - double(y[i]);
    lanes[lane] += e * e;
  }
  double sum = 0.0;
  for (const double lane : lanes) sum += lane;
  return sum;
}

}  // namespace
}  // namespace sf
