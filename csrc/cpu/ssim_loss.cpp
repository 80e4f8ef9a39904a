// ssim_loss on the CPU: as slice_metrics, and then back. A row of windows gives a row of slopes, which is spread along the
// row; the last eleven such rows are gathered down the columns into a row of the gradients.
#include "ssim_loss.h"

#include <algorithm>
#include <tuple>

#include "cpu/moment_rows.h"

namespace sf {
namespace {

constexpr int kRadius = kGaussianRadius, kReach = 2 * kRadius, kTaps = kReach + 1;
// Rows of pixels that one task works on. Fixed, so that sums do not depend on the number of threads; the windows of
// kReach rows above it are worked out again.
constexpr int64_t kBand = 64;

template <class T>
struct SlopeRows {
  alignas(64) T from_x[kInputs], from_y[kInputs], p[kInputs], q[kInputs];
};

// One row of moments to the SSIM of `n` windows and their slopes.
template <class T>
SF_WIDE void slope_row(const Window<T, kRadius>& window, const Scales<T>& scales, const Origin<T>& zero,
                       const MomentRows<T>& rows, int n, T* __restrict values, SlopeRows<T>& __restrict out) {
  const Window<T, kRadius> w = window;
  const Scales<T> s = scales;
  const Origin<T> origin = zero;
  for (int i = 0; i < n; ++i) {
    Slopes<T> slopes;
    values[i] = ssim_with_slopes(mix<false>(w, MomentWindow<T, kRadius>{rows, i}), s, origin, slopes);
    out.from_x[i] = slopes.from_x;
    out.from_y[i] = slopes.from_y;
    out.p[i] = slopes.p;
    out.q[i] = slopes.q;
  }
}

template <class T, class At>
SF_HD T weighted(const Window<T, kRadius>& w, const At& at) {
  T sum = w.k[0] * at(0);
  SF_UNROLL_TAPS
  for (int i = 1; i <= kRadius; ++i) sum += w.k[i] * (at(-i) + at(i));
  return sum;
}

template <class T>
struct AlongRow {
  const T* row;
  int i;

  SF_HD T operator()(int tap) const { return row[i + kRadius + tap]; }
};

template <class T>
struct DownColumn {
  const T* const* rows;
  int i;

  SF_HD T operator()(int tap) const { return rows[kRadius + tap][i]; }
};

template <class T>
SF_WIDE void spread_row(const Window<T, kRadius>& window, const SlopeRows<T>& in, int n, SlopeRows<T>& __restrict out) {
  const Window<T, kRadius> w = window;
  for (int i = 0; i < n; ++i) {
    out.from_x[i] = weighted(w, AlongRow<T>{in.from_x, i});
    out.from_y[i] = weighted(w, AlongRow<T>{in.from_y, i});
    out.p[i] = weighted(w, AlongRow<T>{in.p, i});
    out.q[i] = weighted(w, AlongRow<T>{in.q, i});
  }
}

// A row of both gradients from the spread slopes of the kTaps rows of windows that hold it.
template <class T>
SF_WIDE void gather_columns(const Window<T, kRadius>& window, const SlopeRows<T>* const* taps, const Origin<T>& origin,
                            T share, const T* x, const T* y, int n, T* __restrict grad_x, T* __restrict grad_y) {
  const Window<T, kRadius> w = window;
  const Origin<T> zero = origin;
  const T *from_x[kTaps], *from_y[kTaps], *p[kTaps], *q[kTaps];
  for (int tap = 0; tap < kTaps; ++tap) {
    from_x[tap] = taps[tap]->from_x;
    from_y[tap] = taps[tap]->from_y;
    p[tap] = taps[tap]->p;
    q[tap] = taps[tap]->q;
  }
  for (int i = 0; i < n; ++i) {
    const T dx = x[i] - zero.x, dy = y[i] - zero.y;
    const T pull = ((x[i] - y[i]) - (zero.x - zero.y)) * weighted(w, DownColumn<T>{p, i});
    const T sum_q = weighted(w, DownColumn<T>{q, i});
    grad_x[i] = share * (weighted(w, DownColumn<T>{from_x, i}) - pull + dx * sum_q);
    grad_y[i] = share * (weighted(w, DownColumn<T>{from_y, i}) + pull + dy * sum_q);
  }
}

// The pixels top ... bottom, left ... left + own of a plane. Element i of every buffer belongs to column
// left - kReach + i, of pixels and of windows, which bear the column of their first pixel.
struct Patch {
  int64_t plane, top, bottom, left;
  int own;
};

// Adds to the gradients of a patch, and returns the sum of SSIM over the windows that begin in it.
template <class T>
double run_patch(const LossCall& call, const Patch& patch) {
  static const Window<T, kRadius> weights = window<T, kRadius>();
  const Scales<T> scale{T(1.0 / call.range), T(1.0 / (call.range * call.range))};
  const T share = T(-1.0 / call.windows());
  const int64_t plane = patch.plane * call.height * call.width;
  const T *image_x = static_cast<const T*>(call.x) + plane, *image_y = static_cast<const T*>(call.y) + plane;
  const Origin<T> origin{image_x[0], image_y[0]};

  alignas(64) T x[kTaps][kInputs] = {}, y[kTaps][kInputs] = {}, values[kInputs], grad_x[kOutputs], grad_y[kOutputs];
  MomentRows<T> moments{};
  SlopeRows<T> slopes, spread[kTaps];
  const int64_t start = patch.left - kReach;  // column of element 0
  const int begin = int(std::max<int64_t>(0, -start)), own = patch.own;
  const int end = int(std::min<int64_t>(own + kReach, call.map_width() - start));  // of the windows
  const int pixels = int(std::min<int64_t>(own + 2 * kReach, call.width - start)) - begin;

  double sum = 0.0;
  int64_t loaded = std::max<int64_t>(0, patch.top - kReach);
  for (int64_t row = patch.top - kReach; row < patch.bottom; ++row) {
    SlopeRows<T>& mine = spread[(row + kReach) % kTaps];
    if (row < 0 || row >= call.map_height()) {
      mine = {};
    } else {
      for (; loaded <= row + kReach; ++loaded) {
        const int64_t from = loaded * call.width + start + begin;
        load_row<T, T>(image_x, from, pixels, x[loaded % kTaps] + begin);
        load_row<T, T>(image_y, from, pixels, y[loaded % kTaps] + begin);
      }
      const T *xs[kTaps], *ys[kTaps];
      for (int tap = 0; tap < kTaps; ++tap) {
        xs[tap] = x[(row + tap) % kTaps];
        ys[tap] = y[(row + tap) % kTaps];
      }
      mix_columns(weights, xs, ys, padded(own + 2 * kReach), moments);
      slope_row(weights, scale, origin, moments, padded(own + kReach), values, slopes);
      if (row >= patch.top && end > kReach) sum += sum_of(values + kReach, end - kReach);
      for (T* kind : {slopes.from_x, slopes.from_y, slopes.p, slopes.q}) {
        std::fill(kind, kind + begin, T(0));
        std::fill(kind + end, kind + kInputs, T(0));
      }
      spread_row(weights, slopes, padded(own), mine);
    }
    if (row < patch.top) continue;
    const SlopeRows<T>* taps[kTaps];
    for (int tap = 0; tap < kTaps; ++tap) taps[tap] = &spread[(row + tap) % kTaps];
    gather_columns(weights, taps, origin, share, x[row % kTaps] + kReach, y[row % kTaps] + kReach, padded(own), grad_x,
                   grad_y);
    const int64_t to = plane + row * call.width + patch.left;
    if (call.grad_x) std::copy_n(grad_x, own, static_cast<T*>(call.grad_x) + to);
    if (call.grad_y) std::copy_n(grad_y, own, static_cast<T*>(call.grad_y) + to);
  }
  return sum;
}

std::tuple<Tensor, Tensor, Tensor> ssim_loss(const Tensor& x, const Tensor& y, double range, bool need_x, bool need_y) {
  using torch::headeronly::ScalarType;
  const LossResult result = empty_result(x, need_x, need_y);
  const LossCall call = unpack_loss(x, y, range, need_x, need_y, result);
  const int64_t bands = (call.height + kBand - 1) / kBand, strips = (call.width + kOutputs - 1) / kOutputs;
  const int64_t patches = call.planes * bands * strips;
  const Tensor partial = torch::stable::new_empty(x, {patches}, ScalarType::Double);
  double* sums = partial.mutable_data_ptr<double>();
  torch::stable::parallel_for(0, patches, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t top = i / strips % bands * kBand, left = i % strips * kOutputs;
      const Patch patch{i / (strips * bands), top, std::min(top + kBand, call.height), left,
                        int(std::min<int64_t>(kOutputs, call.width - left))};
      sums[i] = call.type == Pixel::float64 ? run_patch<double>(call, patch) : run_patch<float>(call, patch);
    }
  });
  double total = 0.0;
  for (int64_t i = 0; i < patches; ++i) total += sums[i];
  write_loss(call, total);
  return {result.loss, result.grad_x, result.grad_y};
}

}  // namespace
}  // namespace sf

STABLE_TORCH_LIBRARY_IMPL(spectac_fast, CPU, library) { library.impl("ssim_loss", TORCH_BOX(&sf::ssim_loss)); }
