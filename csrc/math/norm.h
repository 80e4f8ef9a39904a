// Group normalisation: moments that do not cancel, the affine line of a channel, and the activation behind it. The
// formulas stand in spectac_fast/ops/group_norm_silu.py.
#pragma once

#include <math.h>

#include "math/hd.h"

namespace sf {

enum class Activation { none, relu, leaky_relu, silu };

// Count, mean and sum of squared deviations from it.
template <class T>
struct Spread {
  T count, mean, m2;
};

// From sums of (x - about) and its square. `about` is close to the mean, so that little cancels (corrected two-pass
// algorithm; Chan, Golub and LeVeque 1983).
template <class T>
SF_HD Spread<T> spread_about(T about, T count, T sum, T squares) {
  const T offset = sum / count;
  return {count, about + offset, squares - sum * offset};
}

// Of the union of two disjoint sets, the first of which may be empty (same source).
template <class T>
SF_HD Spread<T> merge(const Spread<T>& a, const Spread<T>& b) {
  const T count = a.count + b.count, share = b.count / count, apart = b.mean - a.mean;
  return {count, a.mean + apart * share, a.m2 + b.m2 + apart * apart * a.count * share};
}

// What normalisation, affine and FiLM do to one channel: (x - centre) slope + level.
struct Line {
  float centre, slope, level;
};

// rest: what the mean has beyond `centre`, too small for its last digit.
SF_HD Line fold(float centre, float rest, float rstd, float weight, float bias, float scale, float shift) {
  const float gain = 1.0f + scale, slope = rstd * weight * gain;
  return {centre, slope, fma(-rest, slope, fma(bias, gain, shift))};
}

// e^t for t in [-87, 88], NaN for NaN; relative error below 2^-22. Real: float, or a vector of them; Bits: as wide.
template <class Real, class Bits>
SF_HD Real exp_by_bits(Real t) {
  // Adding 1.5 2^23 rounds to an integer and leaves it in the low bits.
  const Real rounded = fma(t, 1.44269502f, 12582912.0f);
  const Real n = rounded - 12582912.0f;
  const Real r = fma(n, -1.42860677e-6f, fma(n, -0.693145752f, t));
  Real p = fma(r, 1.381459879e-3f, 8.368716575e-3f);  // minimax of (e^r - 1 - r) / r^2 on +-log(2) / 2
  p = fma(p, r, 4.166838899e-2f);
  p = fma(p, r, 1.666652113e-1f);
  p = fma(p, r, 4.999999404e-1f);
  const Real power = bits_as<Real>((bits_as<Bits>(rounded) + 127u) << 23);
  return power * fma(r * r, p, r + 1.0f);
}

SF_HD float exp_of(float t) {
#if defined(__CUDA_ARCH__)
  float result;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(1.44269502f * t));
  return result;
#else
  return exp_by_bits<float, uint32_t>(t);
#endif
}

SF_HD float quotient(float a, float b) {
#if defined(__CUDA_ARCH__)
  return __fdividef(a, b);
#else
  return a / b;
#endif
}

// v / (1 + e^-v). Below -87 the true value is 0 to float32; a comparison instead of a maximum lets NaN pass. Above 87 the
// exponent stops at -87 by its bits, which grow as negative floats fall: a second comparison of floats would be joined
// with the first by a compiler, into five instructions more.
SF_HD float silu(float v) {
  constexpr uint32_t kLeast = 0xc2ae0000u;  // -87
  const float low = v < -87.0f ? -87.0f : v;
  const uint32_t against = bits_as<uint32_t>(-low);
  return quotient(low, 1.0f + exp_of(bits_as<float>(against < kLeast ? against : kLeast)));
}

template <Activation kActivation>
SF_HD float activate(float v) {
  switch (kActivation) {
    case Activation::relu: return v < 0.0f ? 0.0f : v;
    case Activation::leaky_relu: return v < 0.0f ? 0.2f * v : v;
    case Activation::silu: return silu(v);
    default: return v;
  }
}

template <Activation kActivation>
SF_HD float normalised(float x, const Line& line) {
  return activate<kActivation>(fma(x - line.centre, line.slope, line.level));
}

}  // namespace sf
