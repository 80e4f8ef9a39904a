// backproject and attenuation_gradient on the CPU. The planes of some views are made first, and then every column of the
// volume gathers its shares of them, so that no two threads write to the same place.
#include "backproject.h"

#include "cpu/spread.h"

namespace sf {
namespace {

constexpr int64_t kScratch = 1 << 20;  // floats of planes kept at a time: few enough for the caches
constexpr int64_t kParts = 2;          // of the depth of a view, each a task
constexpr int64_t kPool = 64;          // shares gathered before they are added up
constexpr int64_t kStrip = 8;          // columns that one task follows through the depth

SF_WIDE void multiply(const float* __restrict a, const float* __restrict b, int64_t n, float* __restrict out) {
  for (int64_t z = 0; z < n; ++z) out[z] = a[z] * b[z];
}

// Planes of views first ... last - 1, [n, n, nz] each.
template <int64_t kTile>
void blurred_planes(const BackprojectCall& call, int64_t member, int64_t first, int64_t last, float* planes) {
  const int64_t tiles = tiles_of(call.nz, kTile), groups = tiles_of(call.n(), kGroup);
  torch::stable::parallel_for(0, (last - first) * tiles * kParts, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t view = i / kParts / tiles, part = i % kParts;
      const int64_t from = groups * part / kParts * kGroup, to = std::min(call.n(), groups * (part + 1) / kParts * kGroup);
      const Spread<kTile> spread(call, member, first + view, i / kParts % tiles);
      for (int64_t depth = from; depth < to; depth += kGroup) spread.make(depth, to, planes + view * call.volume());
    }
  });
}

void attenuated_planes(const BackprojectCall& call, int64_t member, int64_t first, int64_t last, float* planes) {
  const int64_t n = call.n(), plane = n * call.nz;
  const float* survival = call.survival.values + member * call.survival.batch_stride + first * n * plane;
  const float* views = call.views + (member * call.shares.views + first) * plane;
  torch::stable::parallel_for(0, (last - first) * n, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) multiply(views + i / n * plane, survival + i * plane, plane, planes + i * plane);
  });
}

void make_planes(const BackprojectCall& call, int64_t member, int64_t first, int64_t last, float* planes) {
  if (!call.taps.taps) return attenuated_planes(call, member, first, last, planes);
  fits_wide(call.n(), call.taps.reach) ? blurred_planes<64>(call, member, first, last, planes)
                                       : blurred_planes<32>(call, member, first, last, planes);
}

struct Source {
  const float* column;
  float share;
};

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

SF_WIDE void add_eight(const Source* sources, int64_t nz, float* out) { add_columns<8>(sources, nz, out); }
SF_WIDE void add_four(const Source* sources, int64_t nz, float* out) { add_columns<4>(sources, nz, out); }

// sources: with room for three more.
void add_sources(Source* sources, int64_t count, int64_t nz, float* out) {
  int64_t i = 0;
  for (; i + 8 <= count; i += 8) add_eight(sources + i, nz, out);
  // The last pass is filled up with nothing of a column that is there anyway.
  for (int64_t k = count; k % 4; ++k) sources[k] = {sources[count - 1].column, 0.0f};
  for (; i < count; i += 4) add_four(sources + i, nz, out);
}

// What views first ... last - 1 give to one column of the volume. planes: of those views, or the views themselves.
void gather_column(const BackprojectCall& call, const float* planes, int64_t first, int64_t last, int64_t column,
                   float* out) {
  const int64_t n = call.n(), nz = call.nz, deeper = call.plain() ? 0 : n * nz;
  const int64_t next = call.plain() ? n * nz : call.volume();
  const int32_t* start = call.shares.start + column * call.shares.views;
  Source sources[kPool + 3];
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

void gather(const BackprojectCall& call, const float* planes, int64_t member, int64_t first, int64_t last) {
  float* volume = call.out + member * call.volume();
  torch::stable::parallel_for(0, call.n() * call.n(), call.n(), [&](int64_t begin, int64_t end) {
    for (int64_t column = begin; column < end; ++column) {
      float* out = volume + column * call.nz;
      if (first == 0) std::fill_n(out, call.nz, 0.0f);
      gather_column(call, planes, first, last, column, out);
    }
  });
}

// change(member, first view, past the last, their planes) is what is done to the planes before they are gathered.
template <class Change>
void by_views(const BackprojectCall& call, const Tensor& like, const Change& change) {
  const int64_t views = call.shares.views, together = std::clamp<int64_t>(kScratch / call.volume(), 1, std::max<int64_t>(views, 1));
  const Tensor scratch = torch::stable::new_empty(like, {together * call.volume()});
  float* planes = scratch.mutable_data_ptr<float>();
  for (int64_t member = 0; member < call.batch; ++member)
    for (int64_t first = 0; first < std::max<int64_t>(views, 1); first += together) {
      const int64_t last = std::min(first + together, views);
      make_planes(call, member, first, last, planes);
      change(member, first, last, planes);
      gather(call, planes, member, first, last);
    }
}

Tensor backproject(const Tensor& views, const Tensor& start, const Tensor& source, const Tensor& share, const Tensor& span,
                   const MaybeTensor& survival, const MaybeTensor& taps) {
  const Tensor volume = empty_volume(views);
  const BackprojectCall call = unpack_backproject("backproject", views, start, source, share, span, survival, taps, volume);
  if (volume.numel() == 0) return volume;
  if (!call.plain()) {
    by_views(call, views, [](int64_t, int64_t, int64_t, float*) {});
    return volume;
  }
  for (int64_t member = 0; member < call.batch; ++member)
    gather(call, call.views + member * call.shares.views * call.n() * call.nz, member, 0, call.shares.views);
  return volume;
}

// A column of a plane of what is back-projected becomes minus the sum of its product with the activity over all that lies
// behind it, half of its own included.
SF_WIDE void accumulate(const GradientCall& call, const float* volume, int64_t at, float* __restrict behind,
                        float* __restrict column) {
  const Stencil x(call.stencils, volume, call.back.nz, at);
  const float step = call.step;
#pragma GCC ivdep
  for (int64_t z = 0; z < call.back.nz; ++z) {
    const float own = step * x(z) * column[z], before = behind[z];
    column[z] = -fma(0.5f, own, before);
    behind[z] = before + own;
  }
}

void accumulate_planes(const GradientCall& call, int64_t member, int64_t first, int64_t last, float* planes) {
  const int64_t n = call.stencils.n, nz = call.back.nz, strips = (n + kStrip - 1) / kStrip;
  const float* volume = call.activity + member * call.back.volume();
  torch::stable::parallel_for(0, (last - first) * strips, 1, [&](int64_t begin, int64_t end) {
    const Floats behind = zeros(kStrip * nz);
    for (int64_t i = begin; i < end; ++i) {
      const int64_t view = i / strips, low = i % strips * kStrip, high = std::min(n, low + kStrip);
      std::fill_n(behind.get(), kStrip * nz, 0.0f);
      for (int64_t depth = 0; depth < n; ++depth) {
        const Span span = span_of(call.stencils.span, n, first + view, depth);
        for (int64_t u = std::max(low, span.low); u < std::min(high, span.high); ++u)
          accumulate(call, volume, call.stencils.at(first + view, depth, u), behind.get() + (u - low) * nz,
                     planes + ((view * n + depth) * n + u) * nz);
      }
    }
  });
}

Tensor attenuation_gradient(const Tensor& activity, const Tensor& views, const Tensor& index, const Tensor& weight,
                            const Tensor& span, const Tensor& start, const Tensor& source, const Tensor& share,
                            const Tensor& survival, const MaybeTensor& taps, double step) {
  const Tensor gradient = empty_volume(views);
  const GradientCall call = unpack_gradient(activity, views, index, weight, span, start, source, share, survival, taps,
                                            step, gradient);
  if (gradient.numel() > 0)
    by_views(call.back, views, [&](int64_t member, int64_t first, int64_t last, float* planes) {
      accumulate_planes(call, member, first, last, planes);
    });
  return gradient;
}

}  // namespace
}  // namespace sf

STABLE_TORCH_LIBRARY_IMPL(spectac_fast, CPU, library) {
  library.impl("backproject", TORCH_BOX(&sf::backproject));
  library.impl("attenuation_gradient", TORCH_BOX(&sf::attenuation_gradient));
}
