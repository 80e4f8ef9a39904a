// Resampling weights of one axis and the window of counts; the formulas stand in spectac_fast/ops/window_counts.py.
#pragma once

#include "math/hd.h"

namespace sf {

constexpr int kMaxTaps = 8;  // source pixels per output and axis: pixels grow at most fourfold

// From n source pixels to m outputs, in units of 2^-32 source pixels.
struct Axis {
  int64_t n, m, step, origin, reach;

  SF_HD bool keeps() const { return n == m && step == int64_t(1) << 32 && origin == 0; }
};

// Source pixels first ... first + count - 1 have weight.
struct Span {
  int64_t first;
  int count;
};

// The weights of output i. All of them are positive and their sum is 1.
SF_HD Span weights_of(const Axis& axis, int64_t i, float* weight) {
  const int64_t asked = axis.step * i + axis.origin, end = (axis.n - 1) << 32;
  const int64_t position = asked < 0 ? 0 : (asked > end ? end : asked);
  // The lower and the upper end of the triangle have no weight themselves.
  const int64_t lowest = ((position - axis.reach) >> 32) + 1, highest = ((position + axis.reach - 1) >> 32);
  const int64_t first = lowest < 0 ? 0 : lowest, last = highest < axis.n ? highest : axis.n - 1;
  int64_t total = 0;
  for (int64_t j = first; j <= last; ++j) {
    const int64_t away = position - (j << 32);
    total += axis.reach - (away < 0 ? -away : away);
  }
  for (int64_t j = first; j <= last; ++j) {
    const int64_t away = position - (j << 32);
    weight[j - first] = float(axis.reach - (away < 0 ? -away : away)) / float(total);
  }
  return {first, int(last - first + 1)};
}

// Two roundings, as numpy has them: fused, the bytes of a study would depend on the processor.
SF_HD float window(float counts, float gain) {
#if defined(__CUDA_ARCH__)
  return __fadd_rn(__fmul_rn(counts, gain), -1.0f);
#else
  return counts * gain - 1.0f;
#endif
}

constexpr int32_t kBelow = -1, kNan = -2;  // what `rounded_counts` says of pixels that no counts stand for

// Counts rounded half to even: 0 ... largest, or largest + 1 for anything above, kBelow or kNan; largest below 2^22.
SF_HD int32_t rounded_counts(float x, float gain, int32_t largest) {
  const float asked = (x + 1.0f) * gain, most = float(largest + 1);
  const float kept = asked < -1.0f ? -1.0f : (asked > most ? most : asked);
  // Adding 1.5 * 2^23 leaves no room for a fraction, and rounds it as asked.
  const int32_t rounded = bits_as<int32_t>(kept + 12582912.0f) - bits_as<int32_t>(12582912.0f);
  return asked == asked ? rounded : kNan;
}

// What is stored for them.
SF_HD int32_t held(int32_t rounded, int32_t largest) {
  return rounded < 0 ? 0 : (rounded > largest ? largest : rounded);
}

}  // namespace sf
