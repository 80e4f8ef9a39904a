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
  STD_TORCH_CHECK(!seeds || !noise, op, ": give seeds or noise, not both.");
  STD_TORCH_CHECK(is_counter(step) && is_counter(sample), op, ": step and sample must be in 0 ... 2^32 - 1.");
  STD_TORCH_CHECK(lo < hi, op, ": lo must be below hi.");
  const int64_t n = x.numel();
  StepCall call{};
  call.slices = x.size(0);
  call.elements = x.size(1) * x.size(2) * x.size(3);
  call.x = read_from<float>(x, n, op, "x");
  check_like(f, x, op, "f");
  call.f = f.const_data_ptr();
  call.f_type = net_type(f, op, "f");
  call.y = read_like<float>(y, x, op, "y");
  call.row = read_shaped<float>(row, {14}, x, op, "row");
  call.h1 = read_like<float>(h1, x, op, "h1");
  call.h2 = read_like<float>(h2, x, op, "h2");
  call.seeds = read_shaped<int64_t>(seeds, {call.slices}, x, op, "seeds");
  call.noise = read_like<float>(noise, x, op, "noise");
  call.step = uint32_t(step);
  call.sample = uint32_t(sample);
  call.lo = float(lo);
  call.hi = float(hi);
  call.anchor = write_like<float>(anchor, x, op, "anchor");
  call.x_next = write_like<float>(x_next, x, op, "x_next");
  call.x0 = write_like<float>(x0, x, op, "x0");
  Place delivered{};
  if (net_input) {
    const Tensor& t = *net_input;
    STD_TORCH_CHECK(t.sizes() == x.sizes(), op, ": net_input must have the shape of x.");
    check_device(t, x, op, "net_input");
    delivered = place_to_write(t, op, "net_input");
    call.net_input = t.mutable_data_ptr();
    call.net_type = net_type(t, op, "net_input");
    call.net_stride = t.stride(0);
  }
  check_apart(op,
              {place_of(x), place_of(f), place_of(y), place_of(row), place_of(h1), place_of(h2), place_of(seeds),
               place_of(noise)},
              {place_of(anchor), place_of(x_next), place_of(x0), delivered});
  return call;
}

}  // namespace sf
