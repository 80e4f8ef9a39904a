// Shared memory, and what the sanitizers have to be told about it. Never instrumented itself.
#include "shared_memory.h"

#include <sys/mman.h>

#include <cstdint>
#include <cstring>
#include <new>

#if defined(EMULATED_ADDRESS_SANITIZER)
extern "C" {
void __asan_poison_memory_region(const volatile void*, size_t);
void __asan_unpoison_memory_region(const volatile void*, size_t);
}
#else
static void __asan_poison_memory_region(const volatile void*, size_t) {}
static void __asan_unpoison_memory_region(const volatile void*, size_t) {}
#endif

namespace emulated {
namespace {

constexpr size_t kMemory = 128 << 10, kApart = 64;
constexpr int kNan = 0xff;  // as every byte of a float or a double

void* map(void* where, int more) {
  void* p = mmap(where, kMemory, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | more, -1, 0);
  if (p == MAP_FAILED) throw std::bad_alloc();
  return p;
}

}  // namespace

SharedMemory::SharedMemory() : memory_(static_cast<char*>(map(nullptr, 0))), free_(memory_) {}

void SharedMemory::begin_block(size_t dynamic) {
#if defined(EMULATED_THREAD_SANITIZER)
  // Mapped anew, so that what another block did here is forgotten.
  map(memory_, MAP_FIXED);
#endif
  __asan_poison_memory_region(memory_, kMemory);
  variables_.clear();
  free_ = memory_;
  used_ = 0;
  dynamic_ = take(dynamic, 16);
}

void* SharedMemory::variable(size_t bytes, size_t alignment, std::source_location site) {
  for (const Variable& v : variables_)
    if (v.site.line() == site.line() && v.site.column() == site.column() &&
        !std::strcmp(v.site.file_name(), site.file_name()))
      return v.at;
  variables_.push_back({site, take(bytes, alignment)});
  return variables_.back().at;
}

void* SharedMemory::take(size_t bytes, size_t alignment) {
  used_ += bytes;
  char* p = free_ + kApart;
  p += -reinterpret_cast<uintptr_t>(p) % alignment;
  free_ = p + bytes;
  if (free_ + kApart > memory_ + kMemory) throw std::bad_alloc();
  __asan_unpoison_memory_region(p, bytes);
  std::memset(p, kNan, bytes);
  return p;
}

}  // namespace emulated
