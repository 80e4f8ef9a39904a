// backproject on the CPU. The planes of some views are blurred and attenuated depth by depth, and then every column of
// the volume gathers its shares of them, so that no two threads write to the same place.
#include <cstring>

#include "cpu/columns.h"

namespace sf {
namespace {

constexpr int64_t kScratch = 1 << 20;  // floats of planes kept at a time: what the last cache holds
constexpr int kGroup = 4;               // planes that are made together
constexpr int64_t kPool = 64;          // shares gathered before they are added up

struct BackprojectCall {
  int64_t batch, nz;
  Shares shares;
  Taps taps;
  Survival survival;
  const float* views;  // [batch, views, n, nz]
  float* out;          // [batch, n, n, nz]

  int64_t n() const { return shares.n; }
  int64_t tiles() const { return up_to(kTile, nz) / kTile; }
  int64_t volume() const { return shares.n * shares.n * nz; }
  bool plain() const { return !taps.taps && !survival.values; }
};

SF_WIDE void multiply(const float* __restrict a, const float* __restrict b, int64_t n, float* __restrict out) {
  for (int64_t z = 0; z < n; ++z) out[z] = a[z] * b[z];
}

// For kGroup planes, the sum over all taps of tap times its picture of n floats, `stride` floats from one picture to the next.
struct Group {
  const float* pictures;
  int64_t stride;
  const float* taps[kGroup];
  int64_t n;
  float* planes[kGroup];

  template <int kTaps, bool kFirst>
  SF_HD void pass(int64_t first) const {
    sum<kTaps, kFirst>(pictures + first * stride, stride, taps, first, n, planes[0], planes[1], planes[2], planes[3]);
  }

  template <int kTaps, bool kFirst>
  static SF_HD void sum(const float* __restrict from, int64_t stride, const float* const* taps, int64_t first, int64_t n,
                        float* __restrict o0, float* __restrict o1, float* __restrict o2, float* __restrict o3) {
    float g[kGroup][kTaps + 1];
    for (int j = 0; j < kGroup; ++j)
      for (int k = 0; k < kTaps; ++k) g[j][k] = taps[j][first + k];
#pragma GCC ivdep
    for (int64_t i = 0; i < n; ++i) {
      float s0 = kFirst ? 0.0f : o0[i], s1 = kFirst ? 0.0f : o1[i], s2 = kFirst ? 0.0f : o2[i], s3 = kFirst ? 0.0f : o3[i];
#pragma GCC unroll 8
      for (int k = 0; k < kTaps; ++k) {
        const float x = from[k * stride + i];
        s0 = fma(g[0][k], x, s0);
        s1 = fma(g[1][k], x, s1);
        s2 = fma(g[2][k], x, s2);
        s3 = fma(g[3][k], x, s3);
      }
      o0[i] = s0;
      o1[i] = s1;
      o2[i] = s2;
      o3[i] = s3;
    }
  }
};

SF_WIDE void sum_pictures(const Group& group, int64_t reach) { by_taps(group, 0, reach); }

// in: a column with margins; the sums of what lies r before and r behind, for every r.
SF_WIDE void fold(const float* __restrict in, int64_t reach, int64_t stride, float* __restrict out) {
  for (int64_t z = 0; z < kTile; ++z) out[z] = in[z];
  for (int64_t r = 1; r <= reach; ++r)
#pragma GCC ivdep
    for (int64_t z = 0; z < kTile; ++z) out[r * stride + z] = in[z - r] + in[z + r];
}

template <int64_t kWidth>
SF_HD void deliver_columns(const float* in, const float* survival, int64_t count, int64_t nz, int64_t width, float* out) {
  const int64_t n = kWidth ? kWidth : width;
  for (int64_t u = 0; u < count; ++u) {
    const float *x = in + u * kTile, *s = survival + u * nz;
    float* o = out + u * nz;
    for (int64_t z = 0; z < n; z += 16) { __builtin_prefetch(s + 1024 + z); __builtin_prefetch(o + 1024 + z, 1); }
    if (survival) {
#pragma GCC ivdep
      for (int64_t z = 0; z < n; ++z) o[z] = s[z] * x[z];
    } else {
#pragma GCC ivdep
      for (int64_t z = 0; z < n; ++z) o[z] = x[z];
    }
  }
}

SF_WIDE void deliver(const float* in, const float* survival, int64_t count, int64_t nz, int64_t width, float* out) {
  if (width == kTile) return deliver_columns<kTile>(in, survival, count, nz, width, out);
  deliver_columns<0>(in, survival, count, nz, width, out);
}

// One tile of the planes of one view that the volume gathers from.
class Tile {
 public:
  Tile(const BackprojectCall& call, int64_t member, int64_t view, int64_t tile)
      : call_(call), view_(view), first_(tile * kTile), nz_(call.nz), width_(std::min(kTile, call.nz - first_)),
        reach_(call.taps.reach), room_size_((call.n() + 2 * reach_) * kTile), pictures_(zeros((reach_ + 1) * call.n() * kTile)),
        rooms_(zeros(kGroup * room_size_)), plane_(zeros(call.n() * kTile)),
        survival_(call.survival.values ? call.survival.values + member * call.survival.batch_stride : nullptr) {
    const float* in = call.views + (member * call.shares.views + view) * call.n() * nz_;
    const Floats column = zeros(kTile + 2 * reach_);
    const int64_t low = std::max<int64_t>(0, first_ - reach_), high = std::min(nz_, first_ + kTile + reach_);
    for (int64_t u = 0; u < call.n(); ++u) {
      std::copy(in + u * nz_ + low, in + u * nz_ + high, column.get() + reach_ - first_ + low);
      fold(column.get() + reach_, reach_, call.n() * kTile, pictures_.get() + u * kTile);
    }
  }

  // out: [n, n, nz].
  void run(float* out) const {
    const int64_t n = call_.n();
    for (int64_t depth = 0; depth < n; depth += kGroup) {
      Group group{};
      int64_t reach = 0, low = n, high = 0;
      for (int64_t k = 0; k < kGroup; ++k) {
        group.taps[k] = call_.taps.of(view_, std::min(depth + k, n - 1));
        const Span span = span_of(call_.shares.span, n, view_, std::min(depth + k, n - 1));
        const int64_t own = reach_of(group.taps[k], reach_);
        reach = std::max(reach, own);
        low = std::min(low, span.low - own);
        high = std::max(high, span.high + own);
      }
      low = std::max<int64_t>(low, 0);
      high = std::min(high, n);
      if (low >= high) continue;
      for (int64_t k = 0; k < kGroup; ++k) group.planes[k] = room(k, low);
      group.pictures = pictures_.get() + low * kTile;
      group.stride = n * kTile;
      group.n = (high - low) * kTile;
      sum_pictures(group, reach);
      for (int64_t k = 0; k < kGroup && depth + k < n; ++k) finish(depth + k, k, group.taps[k], out);
    }
  }

 private:
  float* room(int64_t k, int64_t u) const { return rooms_.get() + k * room_size_ + (reach_ + u) * kTile; }

  void finish(int64_t depth, int64_t k, const float* taps, float* out) const {
    const int64_t n = call_.n();
    const Span span = span_of(call_.shares.span, n, view_, depth);
    const int64_t at = depth * n + span.low, count = span.high - span.low;
    blur_across(room(k, span.low), count, taps, reach_of(taps, reach_), plane_.get());
    deliver(plane_.get(), survival_ ? survival_ + (view_ * n * n + at) * nz_ + first_ : nullptr, count, nz_, width_,
            out + at * nz_ + first_);
  }

  const BackprojectCall& call_;
  const int64_t view_, first_, nz_, width_, reach_, room_size_;
  const Floats pictures_, rooms_, plane_;
  const float* const survival_;
};

struct Source {
  const float* column;
  float share;
};

// Adds kCount columns to one.
template <int kCount>
SF_HD void add_columns(const Source* sources, int64_t nz, float* __restrict out) {
  const float* column[kCount];
  float share[kCount];
  for (int k = 0; k < kCount; ++k) column[k] = sources[k].column, share[k] = sources[k].share;
#pragma GCC ivdep
  for (int64_t z = 0; z < nz; ++z) {
    float sum = out[z];
#pragma GCC unroll 8
    for (int k = 0; k < kCount; ++k) sum = fma(share[k], column[k][z], sum);
    out[z] = sum;
  }
}

SF_WIDE void add_eight(const Source* sources, int64_t nz, float* __restrict out) { add_columns<8>(sources, nz, out); }
SF_WIDE void add_four(const Source* sources, int64_t nz, float* __restrict out) { add_columns<4>(sources, nz, out); }

void add_sources(Source* sources, int64_t count, int64_t nz, float* out) {
  int64_t i = 0;
  for (; i + 8 <= count; i += 8) add_eight(sources + i, nz, out);
  // The last pass is filled up with nothing of a column that is there anyway.
  for (int64_t k = count; k % 4; ++k) sources[k] = {sources[count - 1].column, 0.0f};
  for (; i < count; i += 4) add_four(sources + i, nz, out);
}

// What views first ... last - 1 give to one column of the volume; planes: of those views, [n, n, nz] or [n, nz] each.
void gather_column(const BackprojectCall& call, const float* planes, int64_t first, int64_t last, int64_t column, float* out) {
  const int64_t n = call.n(), nz = call.nz, deeper = call.plain() ? 0 : n * nz, next = call.plain() ? n * nz : call.volume();
  const int32_t* start = call.shares.start + column * call.shares.views;
  if (first == 0) std::fill_n(out, nz, 0.0f);
  Source sources[kPool + 4];
  int64_t count = 0;
  for (int64_t view = first; view < last; ++view, planes += next)
    for (int32_t i = start[view]; i < start[view + 1]; ++i) {
      const int32_t source = call.shares.source[i];
      sources[count++] = {planes + depth_of(source) * deeper + lateral_of(source) * nz, call.shares.share[i]};
      if (count == kPool) {
        add_sources(sources, count, nz, out);
        count = 0;
      }
    }
  add_sources(sources, count, nz, out);
}

void backproject_member(const BackprojectCall& call, int64_t member, float* scratch, int64_t together) {
  const int64_t n = call.n(), views = call.shares.views;
  for (int64_t first = 0; first < views; first += together) {
    const int64_t last = std::min(first + together, views);
    if (call.taps.taps) {
      torch::stable::parallel_for(0, (last - first) * call.tiles(), 1, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          const int64_t view = i / call.tiles();
          const Tile tile(call, member, first + view, i % call.tiles());
          tile.run(scratch + view * call.volume());
        }
      });
    } else if (!call.plain()) {
      torch::stable::parallel_for(0, (last - first) * n, 1, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          const int64_t view = i / n, plane = n * call.nz;
          multiply(call.views + (member * views + first + view) * plane,
                   call.survival.values + member * call.survival.batch_stride + ((first + view) * n + i % n) * plane, plane,
                   scratch + i * plane);
        }
      });
    }
    const float* planes = call.plain() ? call.views + (member * views + first) * n * call.nz : scratch;
    torch::stable::parallel_for(0, n * n, n, [&](int64_t begin, int64_t end) {
      for (int64_t column = begin; column < end; ++column)
        gather_column(call, planes, first, last, column, call.out + member * call.volume() + column * call.nz);
    });
  }
}

Tensor backproject(const Tensor& views, const Tensor& start, const Tensor& source, const Tensor& share, const Tensor& span,
                   const MaybeTensor& survival, const MaybeTensor& taps) {
  const char* op = "backproject";
  STD_TORCH_CHECK(views.dim() == 4, op, ": views must be [B, V, n, nz].");
  BackprojectCall call{};
  call.batch = views.size(0);
  call.nz = views.size(3);
  const int64_t count = views.size(1), n = views.size(2);
  call.shares = unpack_shares(op, start, source, share, span, count, n);
  call.taps = unpack_taps(op, taps, count, n);
  call.survival = unpack_survival(op, survival, call.batch, count, n, call.nz);
  call.views = read_from<float>(views, views.numel(), op, "views");
  const Tensor result = torch::stable::new_empty(views, {call.batch, n, n, call.nz});
  if (result.numel() == 0) return result;
  
  call.out = result.mutable_data_ptr<float>();
  const int64_t together = call.plain() ? count : std::clamp<int64_t>(kScratch / call.volume(), 1, count);
  const Tensor scratch = torch::stable::new_empty(views, {call.plain() ? 0 : together * call.volume()});
  for (int64_t member = 0; member < call.batch; ++member)
    backproject_member(call, member, scratch.mutable_data_ptr<float>(), together);
  return result;
}

}  // namespace
}  // namespace sf

STABLE_TORCH_LIBRARY_IMPL(spectac_fast, CPU, library) { library.impl("backproject", TORCH_BOX(&sf::backproject)); }
