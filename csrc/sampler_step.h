// The arguments of one sampler_step call as plain pointers, checked once for both back ends.
#pragma once

#include "glue.h"
#include "math/bridge.h"

namespace sf {

struct StepCall {
  int64_t slices, elements;       // B and C * H * W
  const float *x, *y, *h1, *h2;   // [B, elements]; all but x may be null
  const void* f;                  // [B, elements] of f_type
  NetType f_type;
  const float* row;               // [14], on the device of x
  const int64_t* seeds;           // [B] or null
  const float* noise;             // [B, elements] or null
  uint32_t step, sample;
  float lo, hi;
  float *anchor, *x_next, *x0;    // [B, elements]; anchor and x0 may be null
  void* net_input;                // or null; slices are net_stride elements apart
  NetType net_type;
  int64_t net_stride;
};

inline StepCall unpack_step(
    const Tensor& x, const Tensor& f, const MaybeTensor& y, const Tensor& row, const MaybeTensor& h1,
    const MaybeTensor& h2, const MaybeTensor& seeds, const MaybeTensor& noise, int64_t step, int64_t sample, double lo,
    double hi, const MaybeTensor& anchor, const Tensor& x_next, const MaybeTensor& x0, const MaybeTensor& net_input) {
  const char* op = "sampler_step";
  STD_TORCH_CHECK(x.dim() == 4, op, ": x must be [B, C, H, W].");
  const int64_t n = x.numel();
  StepCall call{};
  call.slices = x.size(0);
  call.elements = x.size(1) * x.size(2) * x.size(3);
  call.x = read_from<float>(x, n, op, "x");
  check_dense(f, n, op, "f");
  call.f = f.const_data_ptr();
  call.f_type = net_type(f, op, "f");
  call.y = read_from<float>(y, n, op, "y");
  call.row = read_from<float>(row, 14, op, "row");
  call.h1 = read_from<float>(h1, n, op, "h1");
  call.h2 = read_from<float>(h2, n, op, "h2");
  call.seeds = read_from<int64_t>(seeds, call.slices, op, "seeds");
  call.noise = read_from<float>(noise, n, op, "noise");
  call.step = uint32_t(step);
  call.sample = uint32_t(sample);
  call.lo = float(lo);
  call.hi = float(hi);
  call.anchor = write_to<float>(anchor, n, op, "anchor");
  call.x_next = write_to<float>(x_next, n, op, "x_next");
  call.x0 = write_to<float>(x0, n, op, "x0");
  if (net_input) {
    const Tensor& t = *net_input;
    STD_TORCH_CHECK(t.numel() == n && t.dim() == 4, op, ": net_input must have the shape of x.");
    for (int64_t dim = 3, dense = 1; dim >= 1; dense *= t.size(dim), --dim)
      STD_TORCH_CHECK(t.size(dim) == 1 || t.stride(dim) == dense, op, ": net_input must hold each slice in one block.");
    call.net_input = t.mutable_data_ptr();
    call.net_type = net_type(t, op, "net_input");
    call.net_stride = t.stride(0);
  }
  return call;
}

}  // namespace sf
