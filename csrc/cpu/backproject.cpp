// backproject and attenuation_gradient on the CPU. A task is a tile of slices of a few views, whose planes go, row by row
// as they are made, to a volume of the task's own; these are added up in the end, in an order that no number of threads
// changes.
#include "backproject.h"

#include "cpu/blur.h"

namespace sf {
namespace {

constexpr int64_t kViews = 4;    // a task's, at least
constexpr int64_t kPartials = 8; // volumes at most that are added up

struct Keep {
  SF_HD Lanes operator()(int64_t, int64_t, Lanes value) const { return value; }
};

// What is back-projected becomes minus the sum of its product with the activity over all that lies behind it, half of its
// own included. Depths must come in order.
struct Accumulate {
  const GradientCall& call;
  const Lanes* activity;
  Lanes* behind;

  SF_HD Lanes operator()(int64_t at, int64_t u, Lanes value) const {
    const Lanes own = call.back.attenuation.step * rotated(call.back.stencils, activity, at) * value;
    const Lanes before = behind[u];
    behind[u] = before + own;
    return -(before + 0.5f * own);
  }
};

// Gives tiles of views to tiles of volumes.
template <class Change>
class Spread {
 public:
  Spread(const BackprojectCall& call, const Tiled* maps)
      : call_(call), attenuator_(call.attenuation, call.stencils, maps, call.nz), n_(call.n()), reach_(call.taps.reach),
        wide_(n_ + 2 * reach_), pictures_(Room((reach_ + 1) * n_)), rooms_(Room(kGroup * wide_)), row_(Room(n_)) {}

  SF_HD void add(int64_t member, int64_t view, int64_t tile, const Change& change, Lanes* volume) {
    volume_ = volume;
    fold(call_.views + (member * call_.stencils.views + view) * n_ * call_.nz, tile * kLanes);
    if (call_.attenuation.any()) survivals_ = attenuator_.of(member, view, tile);
    if (call_.taps.taps) return add_blurred(view, change);
    for (int64_t depth = 0; depth < n_; ++depth) {
      const Span span = span_of(call_.stencils.span, n_, view, depth);
      give(view, depth, span, pictures_.get() + span.low, change);
    }
  }

 private:
  // For every r, the sum of what lies r before and r behind in a view [n, nz].
  SF_HD void fold(const float* in, int64_t z) const {
    const int64_t begin = z - reach_, low = std::max<int64_t>(0, begin);
    const int64_t high = std::min(call_.nz, z + kLanes + reach_);
    float* column = reinterpret_cast<float*>(rooms_.get());
    std::fill_n(column, kLanes + 2 * reach_, 0.0f);
    for (int64_t u = 0; u < n_; ++u) {
      std::copy(in + u * call_.nz + low, in + u * call_.nz + high, column + low - begin);
      const float* middle = column + reach_;
      pictures_[u] = read_lanes(middle, kLanes);
      for (int64_t r = 1; r <= reach_; ++r)
        pictures_[r * n_ + u] = read_lanes(middle - r, kLanes) + read_lanes(middle + r, kLanes);
    }
    std::fill_n(rooms_.get(), kGroup * wide_, Lanes{});
  }

  SF_HD void add_blurred(int64_t view, const Change& change) const {
    Mixture mixture{pictures_.get(), {}, n_, n_, {}};
    for (int64_t k = 0; k < kGroup; ++k) mixture.rows[k] = rooms_.get() + k * wide_ + reach_;
    for (int64_t depth = 0; depth < n_; depth += kGroup) {
      mix_pictures(mixture, taps_of(call_.taps, view, depth, n_, mixture.taps));
      for (int64_t k = 0; k < std::min<int64_t>(kGroup, n_ - depth); ++k) {
        const Span span = span_of(call_.stencils.span, n_, view, depth + k);
        const float* taps = mixture.taps[k];
        blur_across(mixture.rows[k] + span.low, span.high - span.low, taps, reach_of(taps, reach_), row_.get());
        give(view, depth + k, span, row_.get(), change);
      }
    }
  }

  // row: the columns of the span.
  SF_HD void give(int64_t view, int64_t depth, const Span& span, const Lanes* row, const Change& change) const {
    const int64_t at = call_.stencils.at(view, depth, 0);
    if (!call_.attenuation.any()) {
      for (int64_t u = span.low; u < span.high; ++u) give_back(call_.stencils, row[u - span.low], at + u, volume_);
      return;
    }
    for (int64_t u = span.low; u < span.high; ++u) {
      const Lanes dimmed = row[u - span.low] * survivals_(depth * n_ + u);
      give_back(call_.stencils, change(at + u, u, dimmed), at + u, volume_);
    }
  }

  const BackprojectCall& call_;
  const Attenuator attenuator_;
  const int64_t n_, reach_, wide_;
  const Room pictures_, rooms_, row_;
  Survivals survivals_{};
  Lanes* volume_ = nullptr;
};

// A tile of some views of one member of the batch.
struct Task {
  int64_t member, tile, first, last;
  Lanes* volume;
};

SF_WIDE void spread_views(Spread<Keep>& spread, const Task& task) {
  for (int64_t view = task.first; view < task.last; ++view) spread.add(task.member, view, task.tile, Keep{}, task.volume);
}

SF_WIDE void spread_gradient(Spread<Accumulate>& spread, const Accumulate& change, const Task& task) {
  for (int64_t view = task.first; view < task.last; ++view) {
    std::fill_n(change.behind, change.call.back.n(), Lanes{});
    spread.add(task.member, view, task.tile, change, task.volume);
  }
}

SF_WIDE void add_partials(const Lanes* partials, int64_t count, int64_t stride, int64_t columns, int64_t nz, int64_t z,
                          float* out) {
  for (int64_t c = 0; c < columns; ++c) {
    Lanes sum = partials[c];
    for (int64_t i = 1; i < count; ++i) sum += partials[i * stride + c];
    write_lanes(sum, nz - z, out + c * nz + z);
  }
}

// begin(): what a thread spreads the views of its tasks with; each task's volume is all zeros.
template <class Begin>
void by_tasks(const BackprojectCall& call, const Begin& begin_spreading) {
  const int64_t views = call.stencils.views, n = call.n(), columns = n * n, tiles = tiles_of(call.nz);
  const int64_t parts = std::clamp<int64_t>(views / kViews, 1, kPartials), stride = call.batch * tiles * columns;
  const Room partials(parts * stride);
  torch::stable::parallel_for(0, call.batch * tiles * parts, 1, [&](int64_t begin, int64_t end) {
    auto spread = begin_spreading();
    for (int64_t i = begin; i < end; ++i) {
      const int64_t tile = i / parts, part = i % parts;
      Lanes* volume = partials.get() + part * stride + tile * columns;
      std::fill_n(volume, columns, Lanes{});
      spread(Task{tile / tiles, tile % tiles, views * part / parts, views * (part + 1) / parts, volume});
    }
  });
  torch::stable::parallel_for(0, call.batch * n, std::max<int64_t>(1, n / 8), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      for (int64_t t = 0; t < tiles; ++t)
        add_partials(partials.get() + (i / n * tiles + t) * columns + i % n * n, parts, stride, n, call.nz, t * kLanes,
                     call.out + i * n * call.nz);
  });
}

Tensor backproject(const Tensor& views, const Tensor& index, const Tensor& weight, const Tensor& span, const Tensor& turn,
                   const MaybeTensor& mu, const MaybeTensor& survival, const MaybeTensor& taps, double step) {
  const Tensor volume = empty_volume(views);
  const BackprojectCall call =
      unpack_backproject("backproject", views, index, weight, span, turn, mu, survival, taps, step, volume);
  if (volume.numel() == 0) return volume;
  const auto maps = tiled_maps(call.attenuation, call.batch, call.n(), call.nz);
  by_tasks(call, [&] {
    return [spread = Spread<Keep>(call, maps.get())](const Task& task) mutable { spread_views(spread, task); };
  });
  return volume;
}

Tensor attenuation_gradient(const Tensor& activity, const Tensor& views, const Tensor& index, const Tensor& weight,
                            const Tensor& span, const Tensor& turn, const MaybeTensor& mu, const MaybeTensor& survival,
                            const MaybeTensor& taps, double step) {
  const Tensor gradient = empty_volume(views);
  const GradientCall call =
      unpack_gradient(activity, views, index, weight, span, turn, mu, survival, taps, step, gradient);
  if (gradient.numel() == 0) return gradient;
  const Tiled volumes(call.activity, call.back.batch, call.back.n(), call.back.nz);
  const auto maps = tiled_maps(call.back.attenuation, call.back.batch, call.back.n(), call.back.nz);
  by_tasks(call.back, [&] {
    return [&, spread = Spread<Accumulate>(call.back, maps.get()), behind = Room(call.back.n())](
               const Task& task) mutable {
      spread_gradient(spread, {call, volumes.tile(task.member, task.tile), behind.get()}, task);
    };
  });
  return gradient;
}

}  // namespace
}  // namespace sf

STABLE_TORCH_LIBRARY_IMPL(spectac_fast, CPU, library) {
  library.impl("backproject", TORCH_BOX(&sf::backproject));
  library.impl("attenuation_gradient", TORCH_BOX(&sf::attenuation_gradient));
}
