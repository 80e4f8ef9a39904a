// Volumes and views on the CPU in tiles of kLanes slices, which a wide register holds. A tile of a volume is [n * n] of
// Lanes and stays in a core's own cache; whatever reaches over a tile's end is dealt with in the views, which are small.
#pragma once

#include <algorithm>
#include <memory>
#include <new>
#include <utility>

#include "project.h"

// Lanes are passed to inlined functions only: which registers they travel in depends on the vector width.
#define SF_INLINE __attribute__((always_inline))
#pragma GCC diagnostic ignored "-Wpsabi"

namespace sf {
namespace {

constexpr int64_t kLanes = 16;
typedef float Lanes __attribute__((vector_size(4 * kLanes), aligned(4 * kLanes)));
typedef uint32_t LaneBits __attribute__((vector_size(4 * kLanes), aligned(4 * kLanes)));
typedef float LooseLanes __attribute__((vector_size(4 * kLanes), aligned(4), may_alias));

// Lanes on their own boundary, whatever the compiler's default for new is.
class Room {
 public:
  explicit Room(int64_t n) : lanes_(static_cast<Lanes*>(::operator new[](n * sizeof(Lanes), kBoundary))) {}
  Room(Room&& other) noexcept : lanes_(std::exchange(other.lanes_, nullptr)) {}
  ~Room() { ::operator delete[](lanes_, kBoundary); }

  Lanes* get() const { return lanes_; }
  Lanes& operator[](int64_t i) const { return lanes_[i]; }

 private:
  static constexpr std::align_val_t kBoundary{4 * kLanes};
  Lanes* lanes_;
};

inline Room zeros(int64_t n) {
  Room room(n);
  std::fill_n(room.get(), n, Lanes{});
  return room;
}

inline int64_t tiles_of(int64_t nz) { return (nz + kLanes - 1) / kLanes; }

// The first `width` of what lies at p, 0 beyond.
SF_HD Lanes read_lanes(const float* p, int64_t width) {
  if (width >= kLanes) return *reinterpret_cast<const LooseLanes*>(p);
  Lanes some{};
  for (int64_t z = 0; z < width; ++z) some[z] = p[z];
  return some;
}

SF_HD void write_lanes(Lanes values, int64_t width, float* p) {
  if (width >= kLanes) {
    *reinterpret_cast<LooseLanes*>(p) = values;
    return;
  }
  for (int64_t z = 0; z < width; ++z) p[z] = values[z];
}

SF_HD void add_lanes(Lanes values, float* p) { *reinterpret_cast<LooseLanes*>(p) += values; }

SF_WIDE inline void copy_columns(const float* columns, int64_t count, int64_t nz, int64_t stride, Lanes* tiles) {
  for (int64_t c = 0; c < count; ++c)
    for (int64_t z = 0, t = 0; z < nz; z += kLanes, ++t) tiles[t * stride + c] = read_lanes(columns + c * nz + z, nz - z);
}

// A batch of volumes [n * n, nz] as tiles.
class Tiled {
 public:
  Tiled(const float* volumes, int64_t batch, int64_t n, int64_t nz)
      : columns_(n * n), tiles_(tiles_of(nz)), room_(Room(batch * tiles_ * columns_)) {
    torch::stable::parallel_for(0, batch * n, std::max<int64_t>(1, n / 8), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t at = i % n * n;
        copy_columns(volumes + (i / n * columns_ + at) * nz, n, nz, columns_, room_.get() + i / n * tiles_ * columns_ + at);
      }
    });
  }

  const Lanes* tile(int64_t member, int64_t t) const { return room_.get() + (member * tiles_ + t) * columns_; }

 private:
  const int64_t columns_, tiles_;
  const Room room_;
};

// A column of a plane from its four neighbours in a tile of a volume.
SF_HD Lanes rotated(const Stencils& s, const Lanes* tile, int64_t at) {
  const Lanes* first = tile + s.index[at];
  const float* w = s.weight + 4 * at;
  return w[0] * first[0] + w[1] * first[1] + w[2] * first[s.n] + w[3] * first[s.n + 1];
}

// Its transpose.
SF_HD void give_back(const Stencils& s, Lanes value, int64_t at, Lanes* tile) {
  Lanes* first = tile + s.index[at];
  const float* w = s.weight + 4 * at;
  first[0] += w[0] * value;
  first[1] += w[1] * value;
  first[s.n] += w[2] * value;
  first[s.n + 1] += w[3] * value;
}

// From the detector's side to the other: take(column of the view's planes, survival), of the columns in the field or of
// all. passed: room for n columns.
template <bool kAll, class Take>
SF_HD void survive(const Stencils& s, const Lanes* map, float step, int64_t view, Lanes* passed, const Take& take) {
  std::fill_n(passed, s.n, Lanes{});
  for (int64_t depth = s.n - 1; depth >= 0; --depth) {
    const Span span = kAll ? Span{0, s.n} : span_of(s.span, s.n, view, depth);
    const int64_t at = s.at(view, depth, 0);
    for (int64_t u = span.low; u < span.high; ++u) {
      const Lanes own = step * rotated(s, map, at + u), before = passed[u];
      passed[u] = before + own;
      take(depth * s.n + u, survival_by_bits<Lanes, LaneBits>(before + 0.5f * own));
    }
  }
}

// The survivals of the columns of a tile of one view; columns that lie outside the field have none.
struct Survivals {
  const float* first;
  int64_t stride, width;

  SF_HD Lanes operator()(int64_t column) const { return read_lanes(first + column * stride, width); }
};

// Makes or finds them. From a map they are made while the tile is in a core's own cache: making a volume of probabilities
// for every view and reading it again takes longer.
class Attenuator {
 public:
  Attenuator(const Attenuation& attenuation, const Stencils& stencils, const Tiled* maps, int64_t nz)
      : attenuation_(attenuation), stencils_(stencils), maps_(maps), nz_(nz),
        room_(Room(attenuation.mu ? stencils.n * stencils.n : 0)), passed_(Room(attenuation.mu ? stencils.n : 0)) {}

  SF_HD Survivals of(int64_t member, int64_t view, int64_t tile) const {
    const int64_t z = tile * kLanes, columns = stencils_.n * stencils_.n;
    if (attenuation_.survival)
      return {attenuation_.survival + member * attenuation_.batch_stride + view * columns * nz_ + z, nz_, nz_ - z};
    Lanes* room = room_.get();
    survive<false>(stencils_, maps_->tile(attenuation_.batch_stride ? member : 0, tile), attenuation_.step, view, passed_.get(),
            [=](int64_t column, Lanes survival) SF_INLINE { room[column] = survival; });
    return {reinterpret_cast<const float*>(room), kLanes, kLanes};
  }

 private:
  const Attenuation& attenuation_;
  const Stencils& stencils_;
  const Tiled* maps_;
  const int64_t nz_;
  const Room room_, passed_;
};

// The maps of a call as tiles, none where there is none.
inline std::unique_ptr<Tiled> tiled_maps(const Attenuation& attenuation, int64_t batch, int64_t n, int64_t nz) {
  if (!attenuation.mu) return nullptr;
  return std::make_unique<Tiled>(attenuation.mu, attenuation.batch_stride ? batch : 1, n, nz);
}

}  // namespace
}  // namespace sf
