// How the collimator's symmetric kernels are applied, which differ from depth to depth. Across, a plane is blurred by its
// own kernel. Along the slices one picture is kept for every distance r: what all depths add to it goes r slices up and
// r down, or comes from there, once a view instead of once a depth.
#pragma once

#include "cpu/lanes.h"

namespace sf {
namespace {

constexpr int kTogether = 8;     // taps that one pass adds
constexpr int kGroup = 4;        // depths that share the reading of a picture
constexpr int64_t kBeside = 4;   // columns that are worked on together, so that what is read serves all of them

// How far a depth's kernel reaches.
inline int64_t reach_of(const float* taps, int64_t reach) {
  while (reach > 0 && taps[reach] == 0.0f) --reach;
  return reach;
}

// kernel.pass<number of taps, whether it is the first pass>(first tap), for at most kTogether taps at a time, because what
// the compiler knows it unrolls.
template <bool kFirst, int kMost, class Kernel>
SF_HD void pass(const Kernel& kernel, int64_t taps, int64_t first) {
  if (taps == kMost) return kernel.template pass<kMost, kFirst>(first);
  if constexpr (kMost > 0) pass<kFirst, kMost - 1>(kernel, taps, first);
}

template <class Kernel>
SF_HD void by_taps(const Kernel& kernel, int64_t first, int64_t last) {
  pass<true, kTogether>(kernel, std::min<int64_t>(last - first + 1, kTogether), first);
  while ((first += kTogether) <= last)
    pass<false, kTogether>(kernel, std::min<int64_t>(last - first + 1, kTogether), first);
}

// `count` columns blurred across. in has as many columns more on both sides as the kernel reaches.
struct Across {
  const Lanes* in;
  int64_t count;
  const float* taps;
  Lanes* out;

  template <int kTaps, bool kFirst>
  SF_HD void pass(int64_t first) const {
    int64_t u = 0;
    for (; u + kBeside <= count; u += kBeside) columns<kBeside, kTaps, kFirst>(u, first);
    for (; u < count; ++u) columns<1, kTaps, kFirst>(u, first);
  }

  // Taps first ... first + kTaps - 1 on both sides, and the middle one in the first pass.
  template <int kColumns, int kTaps, bool kFirst>
  SF_HD void columns(int64_t u, int64_t first) const {
    Lanes sum[kColumns];
#pragma GCC unroll 4
    for (int c = 0; c < kColumns; ++c) sum[c] = kFirst ? taps[0] * in[u + c] : out[u + c];
#pragma GCC unroll 8
    for (int k = 0; k < kTaps; ++k) {
      const float tap = taps[first + k];
      const Lanes *left = in + u - first - k, *right = in + u + first + k;
#pragma GCC unroll 4
      for (int c = 0; c < kColumns; ++c) sum[c] += tap * (left[c] + right[c]);
    }
#pragma GCC unroll 4
    for (int c = 0; c < kColumns; ++c) out[u + c] = sum[c];
  }
};

SF_WIDE inline void blur_across(const Lanes* in, int64_t count, const float* taps, int64_t reach, Lanes* out) {
  by_taps(Across{in, count, taps, out}, 1, reach);
}

// kGroup rows of n columns are added to the pictures of all taps.
struct Addition {
  const Lanes* rows;  // `stride` from one to the next
  const float* taps[kGroup];
  int64_t n, stride;
  Lanes* pictures;    // n from one to the next

  template <int kTaps, bool kFirst>
  SF_HD void pass(int64_t first) const {
    int64_t u = 0;
    for (; u + kBeside <= n; u += kBeside) columns<kBeside, kTaps>(u, first);
    for (; u < n; ++u) columns<1, kTaps>(u, first);
  }

  template <int kColumns, int kTaps>
  SF_HD void columns(int64_t u, int64_t first) const {
    Lanes x[kGroup][kColumns];
#pragma GCC unroll 4
    for (int j = 0; j < kGroup; ++j)
#pragma GCC unroll 4
      for (int c = 0; c < kColumns; ++c) x[j][c] = rows[j * stride + u + c];
#pragma GCC unroll 8
    for (int k = 0; k < kTaps; ++k) {
      Lanes* to = pictures + (first + k) * n + u;
#pragma GCC unroll 4
      for (int c = 0; c < kColumns; ++c) {
        Lanes sum = to[c];
#pragma GCC unroll 4
        for (int j = 0; j < kGroup; ++j) sum += taps[j][first + k] * x[j][c];
        to[c] = sum;
      }
    }
  }
};

SF_WIDE inline void add_rows(const Addition& addition, int64_t reach) { by_taps(addition, 0, reach); }

// The transpose: for kGroup rows, the sum over all taps of tap times picture.
struct Mixture {
  const Lanes* pictures;  // `stride` from one to the next
  const float* taps[kGroup];
  int64_t n, stride;
  Lanes* rows[kGroup];

  template <int kTaps, bool kFirst>
  SF_HD void pass(int64_t first) const {
    int64_t u = 0;
    for (; u + kBeside <= n; u += kBeside) columns<kBeside, kTaps, kFirst>(u, first);
    for (; u < n; ++u) columns<1, kTaps, kFirst>(u, first);
  }

  template <int kColumns, int kTaps, bool kFirst>
  SF_HD void columns(int64_t u, int64_t first) const {
    Lanes sum[kGroup][kColumns];
#pragma GCC unroll 4
    for (int j = 0; j < kGroup; ++j)
#pragma GCC unroll 4
      for (int c = 0; c < kColumns; ++c) sum[j][c] = kFirst ? Lanes{} : rows[j][u + c];
#pragma GCC unroll 8
    for (int k = 0; k < kTaps; ++k) {
      const Lanes* from = pictures + (first + k) * stride + u;
#pragma GCC unroll 4
      for (int c = 0; c < kColumns; ++c)
#pragma GCC unroll 4
        for (int j = 0; j < kGroup; ++j) sum[j][c] += taps[j][first + k] * from[c];
    }
#pragma GCC unroll 4
    for (int j = 0; j < kGroup; ++j)
#pragma GCC unroll 4
      for (int c = 0; c < kColumns; ++c) rows[j][u + c] = sum[j][c];
  }
};

SF_WIDE inline void mix_pictures(const Mixture& mixture, int64_t reach) { by_taps(mixture, 0, reach); }

// The kernels of kGroup depths from `depth` on, the last one again where there are no more; how far the widest reaches.
SF_HD int64_t taps_of(const Taps& taps, int64_t view, int64_t depth, int64_t n, const float** found) {
  int64_t widest = 0;
  for (int64_t k = 0; k < kGroup; ++k) {
    found[k] = taps.of(view, std::min(depth + k, n - 1));
    widest = std::max(widest, reach_of(found[k], taps.reach));
  }
  return widest;
}

}  // namespace
}  // namespace sf
