// slice_metrics on the CPU: rows stream through the first-level cache. Every row is read once, turned to float, and kept
// for the windows down the columns; a row of their moments gives a row of SSIM at once, and only sums are left over.
#include "slice_metrics.h"

#include <algorithm>

#include "cpu/moment_rows.h"

namespace sf {
namespace {

// Rows of windows that one task works on. Fixed, so that sums do not depend on the number of threads.
constexpr int64_t kBand = 32;

// Where a task works: rows top ... bottom of windows, all columns, of one plane.
struct Band {
  int64_t plane, top, bottom;
};

struct Sums {
  double ssim = 0.0, squares = 0.0;
};

// The windows left ... left + kOutputs of a band. Strips share 2 R columns of pixels with their neighbours and bands 2 R
// rows; each counts the squares of those that the next one does not.
template <class T, int R>
void add_strip(const MetricsCall& call, LoadRow<T> load, const Band& band, int64_t left, Sums& sums) {
  constexpr int kTaps = 2 * R + 1;
  static const Window<T, R> weights = window<T, R>();
  const Scales<T> scale = scales<T>(call);
  alignas(64) T x[kTaps][kInputs], y[kTaps][kInputs], row_ssim[kOutputs];
  MomentRows<T> rows{};  // zeros, because the last windows of a row reach past the moments that exist

  const int outputs = int(std::min<int64_t>(kOutputs, call.map_width() - left)), inputs = outputs + 2 * R;
  const int own_columns = left + outputs == call.map_width() ? inputs : outputs;
  const int bytes = pixel_bytes(call.type);
  const int64_t own_bottom = band.bottom == call.map_height() ? call.height : band.bottom;
  for (int64_t row = band.top; row < band.bottom + 2 * R; ++row) {
    const int64_t from = (band.plane * call.height + row) * call.width + left;
    T *new_x = x[row % kTaps], *new_y = y[row % kTaps];
    load(call.x, from, inputs, new_x);
    load(call.y, from, inputs, new_y);
    ask_for(call.x, from + call.width, inputs, bytes);
    ask_for(call.y, from + call.width, inputs, bytes);
    if (row < own_bottom) sums.squares += sum_of_squares(new_x, new_y, own_columns);

    const int64_t first = row - 2 * R;  // of the rows that are complete now
    if (first < band.top) continue;
    const T *xs[kTaps], *ys[kTaps];
    for (int tap = 0; tap < kTaps; ++tap) {
      xs[tap] = x[(first + tap) % kTaps];
      ys[tap] = y[(first + tap) % kTaps];
    }
    mix_columns(weights, xs, ys, padded(inputs), rows);
    ssim_row(weights, scale, rows, padded(outputs), row_ssim);
    sums.ssim += sum_of(row_ssim, outputs);
    if (call.map) {
      const int64_t to = (band.plane * call.map_height() + first) * call.map_width() + left;
      std::copy_n(row_ssim, outputs, static_cast<T*>(call.map) + to);
    }
  }
}

template <class T, int R>
Sums run_band(const MetricsCall& call, LoadRow<T> load, const Band& band) {
  Sums sums;
  for (int64_t left = 0; left < call.map_width(); left += kOutputs) add_strip<T, R>(call, load, band, left, sums);
  return sums;
}

Sums run_band(const MetricsCall& call, const Band& band) {
  const bool gaussian = call.radius == kGaussianRadius;
  if (call.type == Pixel::float64) {
    const LoadRow<double> load = load_row<double, double>;
    return gaussian ? run_band<double, kGaussianRadius>(call, load, band)
                    : run_band<double, kUniformRadius>(call, load, band);
  }
  const LoadRow<float> load = float_loader(call.type);
  return gaussian ? run_band<float, kGaussianRadius>(call, load, band)
                  : run_band<float, kUniformRadius>(call, load, band);
}

Tensor slice_metrics(const Tensor& x, const Tensor& y, double range, int64_t taps, bool sample_covariance,
                     const MaybeTensor& map) {
  using torch::headeronly::ScalarType;
  const Tensor scores = torch::stable::new_empty(x, {x.size(0), 3}, ScalarType::Double);
  const MetricsCall call = unpack_metrics(x, y, range, taps, sample_covariance, map, scores);
  const int64_t bands = (call.map_height() + kBand - 1) / kBand, tasks = call.planes() * bands;
  const Tensor partial = torch::stable::new_empty(x, {tasks, 2}, ScalarType::Double);
  double* sums = partial.mutable_data_ptr<double>();
  torch::stable::parallel_for(0, tasks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t top = task % bands * kBand;
      const Sums s = run_band(call, {task / bands, top, std::min(top + kBand, call.map_height())});
      sums[2 * task] = s.ssim;
      sums[2 * task + 1] = s.squares;
    }
  });
  for (int64_t sample = 0; sample < call.samples; ++sample) {
    Sums total;
    for (int64_t task = sample * call.channels * bands; task < (sample + 1) * call.channels * bands; ++task) {
      total.ssim += sums[2 * task];
      total.squares += sums[2 * task + 1];
    }
    write_scores(call, sample, total.ssim, total.squares);
  }
  return scores;
}

}  // namespace
}  // namespace sf

STABLE_TORCH_LIBRARY_IMPL(spectac_fast, CPU, library) { library.impl("slice_metrics", TORCH_BOX(&sf::slice_metrics)); }
