// bridge_add_noise on the CPU: block by block, noise, then state and target in one vector loop.
#include "bridge_add_noise.h"

#include "cpu/blocks.h"

namespace sf {
namespace {

template <Objective kObjective>
SF_HD void noise_loop(const Level& at, const float* x0, const float* y, const float* noise, int64_t n,
                      float* __restrict x_t, float* __restrict target) {
  const Level level = at;
  for (int64_t i = 0; i < n; ++i) {
    const Noised v = add_noise<kObjective>(level, x0[i], y[i], noise[i]);
    x_t[i] = v.x_t;
    target[i] = v.target;
  }
}

SF_WIDE void noise_block(Objective objective, const Level& level, const float* x0, const float* y, const float* noise,
                         int64_t n, float* __restrict x_t, float* __restrict target) {
  switch (objective) {
    case Objective::grad: return noise_loop<Objective::grad>(level, x0, y, noise, n, x_t, target);
    case Objective::noise: return noise_loop<Objective::noise>(level, x0, y, noise, n, x_t, target);
    case Objective::ysubx: return noise_loop<Objective::ysubx>(level, x0, y, noise, n, x_t, target);
  }
}

// What the blocks of a slice have in common.
struct Slice {
  Level level;
  NoiseStream stream;
};

void run_block(const NoiseCall& call, const Slice& common, int64_t slice, int64_t first, int64_t n) {
  alignas(64) float drawn[kBlock], state[kBlock], unwanted[kBlock];
  const int64_t at = slice * call.elements + first;
  if (call.seeds) draw_normals(drawn, uint32_t(first / 4), common.stream);
  const float* noise = call.seeds ? drawn : call.noise + at;
  float* x_t = float_room(call.x_t, call.x_t_type, at, state);
  float* target = call.target ? call.target + at : unwanted;
  noise_block(call.objective, common.level, call.x0 + at, call.y + at, noise, n, x_t, target);
  deliver(x_t, n, call.x_t, call.x_t_type, at);
}

void bridge_add_noise(const Tensor& x0, const Tensor& y, const Tensor& t, const Tensor& schedule,
                      const MaybeTensor& seeds, const MaybeTensor& noise, int64_t step, int64_t sample,
                      int64_t objective, const Tensor& x_t, const MaybeTensor& target) {
  const NoiseCall call = unpack_noise(x0, y, t, schedule, seeds, noise, step, sample, objective, x_t, target);
  for_blocks(
      call.slices, call.elements,
      [&](int64_t slice) {
        const int64_t seed = call.seeds ? call.seeds[slice] : 0;
        return Slice{call.level(slice), NoiseStream(seed, call.step, call.sample, kTraining)};
      },
      [&](const Slice& common, int64_t slice, int64_t first, int64_t n) {
        run_block(call, common, slice, first, n);
      });
}

}  // namespace
}  // namespace sf

STABLE_TORCH_LIBRARY_IMPL(spectac_fast, CPU, library) {
  library.impl("bridge_add_noise", TORCH_BOX(&sf::bridge_add_noise));
}
