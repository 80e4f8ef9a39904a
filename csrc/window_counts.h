// The arguments of one window_counts or unwindow_counts call as plain pointers, checked once for both back ends.
#pragma once

#include "glue.h"
#include "math/window.h"

namespace sf {

// Element types counts are held in.
enum class CountType { uint16, int16, float32 };

struct WindowCall {
  int64_t batch, channels;  // of both sides; a slice is one channel of one member of the batch; one where none are told
  Axis rows, columns;       // from what is read to what is written
  const void* in;           // [batch, channels, rows.n, columns.n]
  void* out;                // [batch, channels, rows.m, columns.m]
  int64_t out_stride;       // elements from one member of the batch to the next
  CountType counts;
  NetType net;
  float gain;
  int64_t* saturated;  // [batch, channels, 3], or null where counts are read

  SF_HD bool keeps() const { return rows.keeps() && columns.keeps(); }
  SF_HD int64_t slices() const { return batch * channels; }
  SF_HD int64_t in_elements() const { return rows.n * columns.n; }
  SF_HD int64_t out_elements() const { return rows.m * columns.m; }
  SF_HD int64_t in_at(int64_t slice) const { return slice * in_elements(); }
  SF_HD int64_t out_at(int64_t slice) const {
    return slice / channels * out_stride + slice % channels * out_elements();
  }
};

inline CountType count_type(const Tensor& t, const char* op) {
  using torch::headeronly::ScalarType;
  switch (t.scalar_type()) {
    case ScalarType::UInt16: return CountType::uint16;
    case ScalarType::Short: return CountType::int16;
    case ScalarType::Float: return CountType::float32;
    default: STD_TORCH_CHECK(false, op, ": counts must be uint16, int16 or float32.");
  }
}

inline WindowCall unpack_window(const char* op, const Tensor& in, double gain, const Axis& rows, const Axis& columns,
                                const Tensor& out) {
  const int64_t dims = in.dim();
  STD_TORCH_CHECK((dims == 3 || dims == 4) && out.dim() == dims, op, ": both sides must be [S, H, W] or [B, C, H, W].");
  WindowCall call{};
  call.batch = in.size(0);
  call.channels = dims == 4 ? in.size(1) : 1;
  STD_TORCH_CHECK(out.size(0) == call.batch && (dims == 3 || out.size(1) == call.channels), op,
                  ": both sides must have the same slices.");
  call.rows = rows;
  call.rows.n = in.size(dims - 2);
  call.rows.m = out.size(dims - 2);
  call.columns = columns;
  call.columns.n = in.size(dims - 1);
  call.columns.m = out.size(dims - 1);
  for (const Axis& axis : {call.rows, call.columns})
    STD_TORCH_CHECK(0 < axis.reach && axis.reach <= int64_t(kMaxTaps / 2) << 32, op, ": reach must be in (0, 4].");
  check_dense(in, in.numel(), op, "what is read");
  check_device(out, in, op, "what is written");
  check_apart(op, {place_of(in)}, {place_to_write(out, op, "what is written")});
  call.in = in.const_data_ptr();
  call.out = out.mutable_data_ptr();
  call.out_stride = out.stride(0);
  call.gain = float(gain);
  return call;
}

inline WindowCall unpack_window_counts(const Tensor& counts, double gain, int64_t row_step, int64_t row_origin,
                                       int64_t row_reach, int64_t column_step, int64_t column_origin,
                                       int64_t column_reach, const Tensor& out) {
  const char* op = "window_counts";
  WindowCall call = unpack_window(op, counts, gain, {0, 0, row_step, row_origin, row_reach},
                                  {0, 0, column_step, column_origin, column_reach}, out);
  call.counts = count_type(counts, op);
  call.net = net_type(out, op, "out");
  return call;
}

inline WindowCall unpack_unwindow_counts(const Tensor& x, double gain, int64_t row_step, int64_t row_origin,
                                         int64_t row_reach, int64_t column_step, int64_t column_origin,
                                         int64_t column_reach, const Tensor& counts, const Tensor& saturated) {
  const char* op = "unwindow_counts";
  WindowCall call = unpack_window(op, x, gain, {0, 0, row_step, row_origin, row_reach},
                                  {0, 0, column_step, column_origin, column_reach}, counts);
  call.counts = count_type(counts, op);
  STD_TORCH_CHECK(call.counts != CountType::float32, op, ": counts must be uint16 or int16.");
  call.net = net_type(x, op, "x");
  call.saturated = write_to<int64_t>(saturated, 3 * call.slices(), op, "saturated");
  return call;
}

}  // namespace sf
