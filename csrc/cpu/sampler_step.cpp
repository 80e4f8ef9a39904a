// sampler_step on the CPU: a block of elements goes through up to four vector loops (noise, network output to float,
// the step itself, next network input).
#include "sampler_step.h"

#include "cpu/blocks.h"

namespace sf {
namespace {

// The inputs of one block, absent ones pointing at zeros.
struct Block {
  const float *x, *f, *y, *h1, *h2, *noise;

  SF_HD Element at(int64_t i) const { return {x[i], f[i], y[i], h1[i], h2[i], noise[i]}; }
};

SF_WIDE void step_block(const Row& row, const Block& in, float lo, float hi, int64_t n, float* __restrict x_next,
                        float* __restrict x0) {
  const Row c = row;
  const Block b = in;
  for (int64_t i = 0; i < n; ++i) {
    const Element e = b.at(i);
    const float d = predict(c, e, lo, hi);
    x0[i] = d;
    x_next[i] = advance(c, e, d, e.x);
  }
}

SF_WIDE void corrected_step_block(const Row& row, const Block& in, float lo, float hi, int64_t n,
                                  float* __restrict x_next, float* __restrict x0, float* __restrict anchor) {
  const Row c = row;
  const Block b = in;
  for (int64_t i = 0; i < n; ++i) {
    const Element e = b.at(i);
    const float d = predict(c, e, lo, hi);
    const float xa = correct(c, e, d, anchor[i]);
    x0[i] = d;
    anchor[i] = xa;
    x_next[i] = advance(c, e, d, xa);
  }
}

void run_block(const StepCall& call, const Row& row, const NoiseStream& stream, int64_t slice, int64_t first,
               int64_t n) {
  static constexpr float zeros[kBlock] = {};
  alignas(64) float noise[kBlock], network[kBlock], prediction[kBlock];
  const int64_t at = slice * call.elements + first;
  const auto or_zeros = [at](const float* p) { return p ? p + at : zeros; };

  const float* eps = or_zeros(call.noise);
  if (call.seeds && row.wn != 0.0f) {
    draw_normals(noise, uint32_t(first / 4), stream);
    eps = noise;
  }
  const float* f = as_float(call.f, call.f_type, at, n, network);
  const Block block{call.x + at, f, or_zeros(call.y), or_zeros(call.h1), or_zeros(call.h2), eps};
  float* x0 = call.x0 ? call.x0 + at : prediction;
  float* x_next = call.x_next + at;
  if (call.anchor) {
    corrected_step_block(row, block, call.lo, call.hi, n, x_next, x0, call.anchor + at);
  } else {
    step_block(row, block, call.lo, call.hi, n, x_next, x0);
  }
  if (call.net_input) deliver(x_next, n, call.net_input, call.net_type, slice * call.net_stride + first);
}

void sampler_step(const Tensor& x, const Tensor& f, const MaybeTensor& y, const Tensor& row, const MaybeTensor& h1,
                  const MaybeTensor& h2, const MaybeTensor& seeds, const MaybeTensor& noise, int64_t step,
                  int64_t sample, double lo, double hi, const MaybeTensor& anchor, const Tensor& x_next,
                  const MaybeTensor& x0, const MaybeTensor& net_input) {
  const StepCall call =
      unpack_step(x, f, y, row, h1, h2, seeds, noise, step, sample, lo, hi, anchor, x_next, x0, net_input);
  Row coefficients;
  static_assert(sizeof coefficients == 14 * sizeof(float), "a row is 14 floats");
  memcpy(&coefficients, call.row, sizeof coefficients);
  coefficients = without(coefficients, call.y, call.h1, call.h2, call.seeds || call.noise);
  for_blocks(
      call.slices, call.elements,
      [&](int64_t slice) {
        return NoiseStream(call.seeds ? call.seeds[slice] : 0, call.step, call.sample, kSampling);
      },
      [&](const NoiseStream& stream, int64_t slice, int64_t first, int64_t n) {
        run_block(call, coefficients, stream, slice, first, n);
      });
}

}  // namespace
}  // namespace sf

STABLE_TORCH_LIBRARY_IMPL(spectac_fast, CPU, library) { library.impl("sampler_step", TORCH_BOX(&sf::sampler_step)); }
