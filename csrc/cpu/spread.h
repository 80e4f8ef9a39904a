// The planes of a view that the volume gathers from: the view, blurred as it would be at every depth, and attenuated.
#pragma once

#include "backproject.h"
#include "cpu/columns.h"

namespace sf {
namespace {

// For kGroup planes, the sum over all taps of tap times its picture of n floats, `stride` floats from one to the next.
struct Mixture {
  const float* pictures;
  int64_t stride;
  const float* taps[kGroup];
  int64_t n;
  float* planes[kGroup];

  template <int kTaps, bool kFirst>
  SF_HD void pass(int64_t first) const {
    mix<kTaps, kFirst>(pictures + first * stride, stride, taps, first, n, planes[0], planes[1], planes[2], planes[3]);
  }

  template <int kTaps, bool kFirst>
  static SF_HD void mix(const float* __restrict from, int64_t stride, const float* const* taps, int64_t first, int64_t n,
                        float* __restrict a, float* __restrict b, float* __restrict c, float* __restrict d) {
    float g[kGroup][kTaps + 1];
    for (int j = 0; j < kGroup; ++j)
      for (int k = 0; k < kTaps; ++k) g[j][k] = taps[j][first + k];
#pragma GCC ivdep
    for (int64_t i = 0; i < n; ++i) {
      float sum[kGroup] = {kFirst ? 0.0f : a[i], kFirst ? 0.0f : b[i], kFirst ? 0.0f : c[i], kFirst ? 0.0f : d[i]};
#pragma GCC unroll 8
      for (int k = 0; k < kTaps; ++k)
#pragma GCC unroll 4
        for (int j = 0; j < kGroup; ++j) sum[j] = fma(g[j][k], from[k * stride + i], sum[j]);
      a[i] = sum[0];
      b[i] = sum[1];
      c[i] = sum[2];
      d[i] = sum[3];
    }
  }
};
static_assert(kGroup == 4, "a mixture names its planes one by one");

SF_WIDE inline void mix_pictures(const Mixture& mixture, int64_t reach) { by_taps(mixture, 0, reach); }

// in: a column with `reach` floats more on both sides. For every r, the sum of what lies r before and r behind.
template <int64_t kTile>
SF_WIDE void fold(const float* __restrict in, int64_t reach, int64_t stride, float* __restrict pictures) {
  for (int64_t z = 0; z < kTile; ++z) pictures[z] = in[z];
  for (int64_t r = 1; r <= reach; ++r)
#pragma GCC ivdep
    for (int64_t z = 0; z < kTile; ++z) pictures[r * stride + z] = in[z - r] + in[z + r];
}

// kWidth slices, or `width` where it is 0.
template <int64_t kTile, int64_t kWidth>
SF_HD void deliver_columns(const float* in, const float* survival, int64_t count, int64_t nz, int64_t width, float* out) {
  const int64_t n = kWidth ? kWidth : width;
  for (int64_t u = 0; u < count; ++u, in += kTile, out += nz) {
    if (survival) {
      const float* s = survival + u * nz;
#pragma GCC ivdep
      for (int64_t z = 0; z < n; ++z) out[z] = s[z] * in[z];
    } else {
#pragma GCC ivdep
      for (int64_t z = 0; z < n; ++z) out[z] = in[z];
    }
  }
}

template <int64_t kTile>
SF_WIDE void deliver(const float* in, const float* survival, int64_t count, int64_t nz, int64_t width, float* out) {
  if (width == kTile) return deliver_columns<kTile, kTile>(in, survival, count, nz, width, out);
  deliver_columns<kTile, 0>(in, survival, count, nz, width, out);
}

// One tile of one view of one member of the batch.
template <int64_t kTile>
class Spread {
 public:
  Spread(const BackprojectCall& call, int64_t member, int64_t view, int64_t tile)
      : call_(call), view_(view), first_(tile * kTile), width_(std::min(kTile, call.nz - first_)), reach_(call.taps.reach),
        plane_(call.n() * kTile), room_(plane_ + 2 * reach_ * kTile), pictures_(zeros((reach_ + 1) * plane_)),
        rooms_(zeros(kGroup * room_)), blurred_(zeros(plane_)), survival_(call.survival.values) {
    const float* in = call.views + (member * call.shares.views + view) * call.n() * call.nz;
    const int64_t begin = first_ - reach_, low = std::max<int64_t>(0, begin);
    const int64_t high = std::min(call.nz, first_ + kTile + reach_);
    const Floats column = zeros(kTile + 2 * reach_);
    for (int64_t u = 0; u < call.n(); ++u) {
      std::copy(in + u * call.nz + low, in + u * call.nz + high, column.get() + low - begin);
      fold<kTile>(column.get() + reach_, reach_, plane_, pictures_.get() + u * kTile);
    }
    if (survival_) survival_ += member * call.survival.batch_stride + view * call.n() * call.n() * call.nz + first_;
  }

  // Planes `depth` and the next ones, at most kGroup and below `end`; out: [n, n, nz].
  void make(int64_t depth, int64_t end, float* out) const {
    const int64_t n = call_.n();
    Mixture mixture{pictures_.get(), plane_, {}, 0, {}};
    int64_t farthest = 0, low = n, high = 0;
    for (int64_t k = 0; k < kGroup; ++k) {
      const int64_t at = std::min(depth + k, end - 1);
      const Span span = span_of(call_.shares.span, n, view_, at);
      mixture.taps[k] = call_.taps.of(view_, at);
      const int64_t reach = reach_of(mixture.taps[k], reach_);
      farthest = std::max(farthest, reach);
      low = std::min(low, std::max<int64_t>(0, span.low - reach));
      high = std::max(high, std::min(n, span.high + reach));
    }
    if (low >= high) return;
    for (int64_t k = 0; k < kGroup; ++k) mixture.planes[k] = room(k, low);
    mixture.pictures += low * kTile;
    mixture.n = (high - low) * kTile;
    mix_pictures(mixture, farthest);
    for (int64_t k = 0; k < std::min<int64_t>(kGroup, end - depth); ++k) finish(depth + k, mixture.taps[k], room(k, 0), out);
  }

 private:
  float* room(int64_t k, int64_t u) const { return rooms_.get() + k * room_ + (reach_ + u) * kTile; }

  void finish(int64_t depth, const float* taps, const float* room, float* out) const {
    const int64_t n = call_.n(), nz = call_.nz;
    const Span span = span_of(call_.shares.span, n, view_, depth);
    const int64_t at = (depth * n + span.low) * nz, count = span.high - span.low;
    blur_across<kTile>(room + span.low * kTile, count, taps, reach_of(taps, reach_), blurred_.get());
    deliver<kTile>(blurred_.get(), survival_ ? survival_ + at : nullptr, count, nz, width_, out + at + first_);
  }

  const BackprojectCall& call_;
  const int64_t view_, first_, width_, reach_, plane_, room_;
  const Floats pictures_, rooms_, blurred_;
  const float* survival_;
};

}  // namespace
}  // namespace sf
