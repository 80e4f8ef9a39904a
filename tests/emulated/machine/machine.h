// A GPU as far as its kernels can tell: threads in warps in blocks, barriers, exchanges within a warp, shared memory.
// Blocks run one after the other, threads of a block as fibers in an order that a test chooses. What a GPU would refuse,
// or leave undefined, ends the launch with a sentence.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <source_location>
#include <string>

namespace emulated {

using Site = std::source_location;

struct Index {
  uint32_t x, y, z;
};

// The current thread's.
const Index& thread_index();
const Index& block_index();
const Index& block_size();
const Index& grid_size();

// Ends the launch with an error.
[[noreturn]] void fail(const std::string& what);

// Waits for all threads of the block.
void synchronise(Site site);

// All lanes of the mask give 64 bits. Returns those of all 32, which stay until the lane's next exchange.
const uint64_t* exchange(uint32_t mask, uint64_t bits, Site site);

// The block's variable that is declared at this place.
void* shared_variable(size_t bytes, size_t alignment, Site site);
// What the launch asked for.
void* dynamic_shared();

// Rounded to float32, and then off by up to two last digits, as an approximate instruction may be: always the same for the
// same number.
float approximate(double exact);

// Threads of a grid run `body`. What a launch is refused for is left for last_error().
void launch(const void* kernel, Index grid, Index block, size_t shared, const std::function<void()>& body);
int last_error();

}  // namespace emulated
