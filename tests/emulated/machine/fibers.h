// A stack of its own to run on, switched to and away from by hand.
#pragma once

#include <setjmp.h>
#include <ucontext.h>

#include <cstddef>

namespace emulated {

class Fiber {
 public:
  // `body` never returns: it calls leave() whenever it has come to an end or has to wait.
  explicit Fiber(void (*body)());
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // Runs `body` from where it last left. From outside only.
  void enter();
  // Back to whoever entered. From within only.
  void leave();

 private:
  void* stack_;
  ucontext_t here_, outside_;
  jmp_buf jump_here_, jump_outside_;
  bool begun_ = false;
  // What the sanitizers know a stack by.
  void *thread_ = nullptr, *outer_thread_ = nullptr, *fake_stack_ = nullptr, *outer_fake_stack_ = nullptr;
  const void* outer_stack_ = nullptr;
  size_t outer_size_ = 0;
};

}  // namespace emulated
