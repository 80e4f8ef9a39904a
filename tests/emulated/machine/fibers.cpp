// Fibers, and what ThreadSanitizer and AddressSanitizer have to be told about them. Never instrumented itself.
#include "fibers.h"

#include <sys/mman.h>

#include <new>

#if defined(EMULATED_THREAD_SANITIZER)
extern "C" {
void* __tsan_create_fiber(unsigned flags);
void __tsan_destroy_fiber(void* fiber);
void __tsan_switch_to_fiber(void* fiber, unsigned flags);
void* __tsan_get_current_fiber();
}
#elif defined(EMULATED_ADDRESS_SANITIZER)
extern "C" {
void __sanitizer_start_switch_fiber(void** fake_stack, const void* bottom, size_t size);
void __sanitizer_finish_switch_fiber(void* fake_stack, const void** bottom, size_t* size);
}
#else
#define EMULATED_BY_JUMPS
#endif

namespace emulated {
namespace {

constexpr size_t kStack = 128 << 10;

#if defined(EMULATED_ADDRESS_SANITIZER)
Fiber* begun_fiber;  // whose first switch is still to be finished
#endif
void (*begun_body)();

}  // namespace

Fiber::Fiber(void (*body)()) {
  stack_ = mmap(nullptr, kStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (stack_ == MAP_FAILED) throw std::bad_alloc();
  getcontext(&here_);
  here_.uc_stack.ss_sp = stack_;
  here_.uc_stack.ss_size = kStack;
  here_.uc_link = nullptr;
#if defined(EMULATED_ADDRESS_SANITIZER)
  begun_body = body;
  makecontext(&here_, [] {
    __sanitizer_finish_switch_fiber(nullptr, &begun_fiber->outer_stack_, &begun_fiber->outer_size_);
    begun_body();
  }, 0);
#else
  makecontext(&here_, body, 0);
#endif
#if defined(EMULATED_THREAD_SANITIZER)
  thread_ = __tsan_create_fiber(0);
#endif
}

Fiber::~Fiber() {
#if defined(EMULATED_THREAD_SANITIZER)
  __tsan_destroy_fiber(thread_);
#endif
  munmap(stack_, kStack);
}

#if defined(EMULATED_BY_JUMPS)

// A jump changes no signal mask, which makes it ten times as fast as a change of contexts.
void Fiber::enter() {
  if (_setjmp(jump_outside_)) return;
  if (begun_) _longjmp(jump_here_, 1);
  begun_ = true;
  setcontext(&here_);
}

void Fiber::leave() {
  if (!_setjmp(jump_here_)) _longjmp(jump_outside_, 1);
}

#elif defined(EMULATED_THREAD_SANITIZER)

// 1: to switch orders nothing in time.
void Fiber::enter() {
  outer_thread_ = __tsan_get_current_fiber();
  __tsan_switch_to_fiber(thread_, 1);
  swapcontext(&outside_, &here_);
}

void Fiber::leave() {
  __tsan_switch_to_fiber(outer_thread_, 1);
  swapcontext(&here_, &outside_);
}

#else

void Fiber::enter() {
  begun_fiber = this;
  __sanitizer_start_switch_fiber(&outer_fake_stack_, stack_, kStack);
  swapcontext(&outside_, &here_);
  __sanitizer_finish_switch_fiber(outer_fake_stack_, nullptr, nullptr);
}

void Fiber::leave() {
  __sanitizer_start_switch_fiber(&fake_stack_, outer_stack_, outer_size_);
  swapcontext(&here_, &outside_);
  __sanitizer_finish_switch_fiber(fake_stack_, &outer_stack_, &outer_size_);
}

#endif

}  // namespace emulated
