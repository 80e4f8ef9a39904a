// window_counts and unwindow_counts on the CPU. Equal pixels: one loop over blocks. Otherwise row by row: the source rows
// that an output row covers are added up first, column beside column, and then its pixels.
#include "window_counts.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "cpu/blocks.h"

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("fp-contract=off")  // the window is two roundings on every processor
#endif

namespace sf {
namespace {

template <class From>
SF_WIDE void widen_counts(const From* in, int64_t n, float* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = float(in[i]);
}

SF_WIDE void window_row(const float* in, int64_t n, float gain, float* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = window(in[i], gain);
}

struct Tally {
  int64_t below = 0, above = 0, nan = 0;
};

template <class To>
SF_WIDE Tally unwindow_row(const float* in, int64_t n, float gain, To* __restrict out) {
  constexpr int32_t largest = std::numeric_limits<To>::max();
  int32_t below = 0, above = 0, nan = 0;
  for (int64_t i = 0; i < n; ++i) {
    const int32_t rounded = rounded_counts(in[i], gain, largest);
    out[i] = To(held(rounded, largest));
    below += rounded == kBelow;
    above += rounded > largest;
    nan += rounded == kNan;
  }
  return {below, above, nan};
}

SF_WIDE void add_row(const float* in, int64_t n, float weight, float* __restrict sum) {
  for (int64_t i = 0; i < n; ++i) sum[i] = fma(weight, in[i], sum[i]);
}

// The k-th source pixel of every output: its index and its weight, 0 where the output has fewer.
SF_WIDE void add_columns(const float* in, const int32_t* index, const float* weight, int64_t m, float* __restrict sum) {
  for (int64_t j = 0; j < m; ++j) {
    const float more = fma(weight[j], in[index[j]], sum[j]);
    sum[j] = weight[j] > 0.0f ? more : sum[j];
  }
}

// The weights of all outputs of an axis, output by output or, for add_columns, source pixel by source pixel.
struct Weights {
  std::vector<Span> spans;
  std::vector<float> by_output, by_tap;
  std::vector<int32_t> index;
  int taps = 0;

  explicit Weights(const Axis& axis)
      : spans(axis.m), by_output(axis.m * kMaxTaps), by_tap(axis.m * kMaxTaps), index(axis.m * kMaxTaps) {
    for (int64_t i = 0; i < axis.m; ++i) {
      float* weight = by_output.data() + i * kMaxTaps;
      spans[i] = weights_of(axis, i, weight);
      taps = std::max(taps, spans[i].count);
      for (int k = 0; k < kMaxTaps; ++k) {
        by_tap[k * axis.m + i] = weight[k];
        index[k * axis.m + i] = int32_t(std::min(spans[i].first + k, axis.n - 1));
      }
    }
  }
};

// n values of what is read, from element `at`, as floats: in place or in the buffer.
const float* read_row(const WindowCall& call, int64_t at, int64_t n, float* buffer) {
  if (call.saturated) return as_float(call.in, call.net, at, n, buffer);
  switch (call.counts) {
    case CountType::float32: return static_cast<const float*>(call.in) + at;
    case CountType::uint16: widen_counts(static_cast<const uint16_t*>(call.in) + at, n, buffer); break;
    case CountType::int16: widen_counts(static_cast<const int16_t*>(call.in) + at, n, buffer); break;
  }
  return buffer;
}

// n resampled values of a slice to where they belong, from element `at` of the slice; `buffer` has room for them.
void write_row(const WindowCall& call, int64_t slice, int64_t at, int64_t n, const float* values, float* buffer) {
  const int64_t to = call.out_at(slice) + at;
  if (!call.saturated) {
    float* room = float_room(call.out, call.net, to, buffer);
    window_row(values, n, call.gain, room);
    deliver(room, n, call.out, call.net, to);
    return;
  }
  const Tally tally =
      call.counts == CountType::uint16
          ? unwindow_row(values, n, call.gain, static_cast<uint16_t*>(call.out) + to)
          : unwindow_row(values, n, call.gain, static_cast<int16_t*>(call.out) + to);
  int64_t* sums = call.saturated + 3 * slice;
  for (int64_t part : {tally.below, tally.above, tally.nan}) {
    if (part) __atomic_fetch_add(sums, part, __ATOMIC_RELAXED);  // whole numbers: the order does not show
    ++sums;
  }
}

void resample(const WindowCall& call) {
  const Weights rows(call.rows), columns(call.columns);
  const int64_t width = call.columns.n, m = call.columns.m;
  const int64_t grain = std::max<int64_t>(1, kGrain * kBlock / (m + width));
  torch::stable::parallel_for(0, call.slices() * call.rows.m, grain, [&](int64_t begin, int64_t end) {
    std::vector<float> source(width), mixed(width), sums(m), buffer(m);
    for (int64_t i = begin; i < end; ++i) {
      const int64_t slice = i / call.rows.m, row = i % call.rows.m;
      const Span span = rows.spans[row];
      std::fill(mixed.begin(), mixed.end(), 0.0f);
      for (int k = 0; k < span.count; ++k) {
        const int64_t at = call.in_at(slice) + (span.first + k) * width;
        add_row(read_row(call, at, width, source.data()), width, rows.by_output[row * kMaxTaps + k], mixed.data());
      }
      std::fill(sums.begin(), sums.end(), 0.0f);
      for (int k = 0; k < columns.taps; ++k)
        add_columns(mixed.data(), columns.index.data() + k * m, columns.by_tap.data() + k * m, m, sums.data());
      write_row(call, slice, row * m, m, sums.data(), buffer.data());
    }
  });
}

void run(const WindowCall& call) {
  if (call.saturated) std::fill_n(call.saturated, 3 * call.slices(), 0);
  if (call.in_elements() == 0 || call.out_elements() == 0) return;
  if (!call.keeps()) return resample(call);
  for_blocks(call.slices(), call.in_elements(), [&](int64_t slice, int64_t first, int64_t n) {
    alignas(64) float values[kBlock], buffer[kBlock];
    write_row(call, slice, first, n, read_row(call, call.in_at(slice) + first, n, values), buffer);
  });
}

void window_counts(const Tensor& counts, double gain, int64_t row_step, int64_t row_origin, int64_t row_reach,
                   int64_t column_step, int64_t column_origin, int64_t column_reach, const Tensor& out) {
  run(unpack_window_counts(counts, gain, row_step, row_origin, row_reach, column_step, column_origin, column_reach,
                           out));
}

void unwindow_counts(const Tensor& x, double gain, int64_t row_step, int64_t row_origin, int64_t row_reach,
                     int64_t column_step, int64_t column_origin, int64_t column_reach, const Tensor& counts,
                     const Tensor& saturated) {
  run(unpack_unwindow_counts(x, gain, row_step, row_origin, row_reach, column_step, column_origin, column_reach,
                             counts, saturated));
}

}  // namespace
}  // namespace sf

STABLE_TORCH_LIBRARY_IMPL(spectac_fast, CPU, library) {
  library.impl("window_counts", TORCH_BOX(&sf::window_counts));
  library.impl("unwindow_counts", TORCH_BOX(&sf::unwindow_counts));
}
