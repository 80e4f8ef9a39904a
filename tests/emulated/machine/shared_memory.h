// The shared memory of the block that runs: full of NaN when the block begins, its variables apart from each other.
#pragma once

#include <cstddef>
#include <source_location>
#include <vector>

namespace emulated {

class SharedMemory {
 public:
  SharedMemory();
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;

  // Forgets all of the last block's.
  void begin_block(size_t dynamic);

  // The same memory for every thread that asks from one place.
  void* variable(size_t bytes, size_t alignment, std::source_location site);
  void* dynamic() const { return dynamic_; }

  // Bytes of the block, without what lies between its variables.
  size_t used() const { return used_; }

 private:
  struct Variable {
    std::source_location site;
    void* at;
  };

  void* take(size_t bytes, size_t alignment);

  char *memory_, *free_;
  void* dynamic_ = nullptr;
  size_t used_ = 0;
  std::vector<Variable> variables_;
};

}  // namespace emulated
