// Blocks, warps and the order they run in. Never instrumented: under ThreadSanitizer it tells itself what orders what.
#include "machine.h"

#include <dlfcn.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <stdexcept>
#include <utility>
#include <vector>

#include "fibers.h"
#include "shared_memory.h"

#if defined(EMULATED_THREAD_SANITIZER)
extern "C" {
void __tsan_acquire(void*);
void __tsan_release(void*);
void AnnotateIgnoreReadsBegin(const char*, int);
void AnnotateIgnoreReadsEnd(const char*, int);
void AnnotateIgnoreWritesBegin(const char*, int);
void AnnotateIgnoreWritesEnd(const char*, int);
}
#else
static void __tsan_acquire(void*) {}
static void __tsan_release(void*) {}
static void AnnotateIgnoreReadsBegin(const char*, int) {}
static void AnnotateIgnoreReadsEnd(const char*, int) {}
static void AnnotateIgnoreWritesBegin(const char*, int) {}
static void AnnotateIgnoreWritesEnd(const char*, int) {}
#endif

namespace emulated {
namespace {

constexpr uint32_t kLanes = 32, kMostThreads = 1024;
constexpr size_t kMostShared = 48 << 10;
constexpr int kInvalidValue = 1, kInvalidConfiguration = 9;  // of cudaError_t

// While the machine itself runs: what it does by way of the library, such as to allocate, is no action of the thread.
struct Unwatched {
  Unwatched() {
    AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
    AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
  }
  ~Unwatched() {
    AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
    AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
  }
};

// Thrown through a thread that waits while another fails.
struct Abandoned {};

struct Thread {
  Index index;
  bool done;
  uint32_t lane() const { return index.x % kLanes; }
  uint32_t warp() const { return index.x / kLanes; }
};

struct Warp {
  std::array<std::array<uint64_t, kLanes>, 2> values{};
  uint32_t turn = 0, mask = 0, arrived = 0, alive = 0;
  Site site;
};

// Which of the threads that may run does. Ranks are numbers of places, the lowest of which goes first for as long as it can:
// so a thread gets as far ahead of the others as barriers let it.
class Order {
 public:
  enum Kind : uint64_t { forward, reverse, random };  // from `random` on, a seed

  void choose(uint64_t kind) {
    kind_ = kind;
    engine_.seed(kind);
  }

  template <class T>
  void arrange(std::vector<T>& items) {
    if (kind_ == reverse) std::reverse(items.begin(), items.end());
    if (kind_ >= random) std::shuffle(items.begin(), items.end(), engine_);
  }

  // Anew for every block: the threads in their order, those of a warp next to each other.
  void rank(uint32_t threads) {
    std::vector<uint32_t> warps((threads + kLanes - 1) / kLanes);
    for (uint32_t w = 0; w < warps.size(); ++w) warps[w] = w;
    arrange(warps);
    ranked_.clear();
    for (const uint32_t w : warps) {
      std::vector<uint32_t> lanes;
      for (uint32_t t = w * kLanes; t < std::min(threads, (w + 1) * kLanes); ++t) lanes.push_back(t);
      arrange(lanes);
      ranked_.insert(ranked_.end(), lanes.begin(), lanes.end());
    }
    for (uint32_t r = 0; r < threads; ++r) rank_of_[ranked_[r]] = r;
    ready_.fill(0);
  }

  void make_ready(uint32_t thread) { ready_[rank_of_[thread] / 64] |= uint64_t(1) << rank_of_[thread] % 64; }

  // The next thread, or -1 if none may run.
  int64_t take() {
    for (uint32_t word = 0; word < ready_.size(); ++word) {
      if (!ready_[word]) continue;
      const uint32_t bit = std::countr_zero(ready_[word]);
      ready_[word] &= ready_[word] - 1;
      return ranked_[word * 64 + bit];
    }
    return -1;
  }

 private:
  uint64_t kind_ = forward;
  std::mt19937_64 engine_;
  std::vector<uint32_t> ranked_;
  std::array<uint32_t, kMostThreads> rank_of_;
  std::array<uint64_t, kMostThreads / 64> ready_;
};

std::mutex one_launch;
Order order;
SharedMemory shared_memory;
std::vector<std::unique_ptr<Fiber>> fibers;
// Not on the heap, of which ThreadSanitizer would say that whoever allocates writes.
std::array<Thread, kMostThreads> threads;
std::array<Warp, kMostThreads / kLanes> warps;
uint32_t begun;  // threads of the block
std::vector<uint32_t> waiting;  // at the barrier
Site barrier_site;
uint32_t alive;
Thread* running;
Fiber* running_fiber;
Index block_now, block_shape, grid_shape;
const std::function<void()>* body_now;
// What orders what for ThreadSanitizer: before all threads of a launch, after all, and at the barriers of a block.
char launched, finished, passed[1024], *passed_now;
std::string failure;
int error;

// For tests.
std::string last_failure;
std::string report_file;
int64_t reported;
std::string missing_file;
uint32_t missing_line;
std::map<const void*, uint64_t> launches;
std::vector<Site> barriers;

std::string name_of(const Site& site) { return std::string(site.file_name()) + ":" + std::to_string(site.line()); }

bool same_file(const char* a, const char* b) { return a == b || !std::strcmp(a, b); }

bool same(const Site& a, const Site& b) {
  return a.line() == b.line() && a.column() == b.column() && same_file(a.file_name(), b.file_name());
}

void remember(const Site& site) {
  if (std::ranges::none_of(barriers, [&](const Site& known) { return same(known, site); })) barriers.push_back(site);
}

void abandon() {
  for (uint32_t t = 0; t < begun; ++t) order.make_ready(t);
}

void note(const std::string& what) {
  if (!failure.empty()) return;
  failure = what;
  abandon();
}

void wait() {
  running_fiber->leave();
  if (!failure.empty()) throw Abandoned();
}

void end_thread() {
  Thread& me = *running;
  me.done = true;
  Warp& warp = warps[me.warp()];
  warp.alive &= ~(1u << me.lane());
  --alive;
  if (warp.arrived) note("a lane left while others of its warp wait at " + name_of(warp.site));
  if (!waiting.empty()) note("a thread left while others wait at " + name_of(barrier_site));
}

void run_threads() {
  for (;;) {
    __tsan_acquire(&launched);
    std::string wrong;
    try {
      if (failure.empty()) (*body_now)();
    } catch (const Abandoned&) {
    } catch (const std::exception& thrown) {
      wrong = thrown.what();
    }
    const Unwatched unwatched;
    if (!wrong.empty()) note(wrong);
    end_thread();
    __tsan_release(&finished);
    running_fiber->leave();
  }
}

#if defined(EMULATED_THREAD_SANITIZER)
int64_t size_of_reports() {
  struct stat found;
  return stat(report_file.c_str(), &found) ? 0 : int64_t(found.st_size);
}

// One is enough: a race would be reported, slowly, for every pair of threads.
void end_at_a_report() {
  if (size_of_reports() > reported) note("a sanitizer reports something, see " + report_file);
}
#else
int64_t size_of_reports() { return 0; }
void end_at_a_report() {}
#endif

void run_block(uint32_t count, uint32_t number, size_t dynamic) {
  shared_memory.begin_block(dynamic);
  warps.fill({});
  waiting.clear();
  begun = alive = count;
  passed_now = &passed[number % sizeof passed];
  order.rank(count);
  for (uint32_t t = 0; t < count; ++t) {
    threads[t] = {{t, 0, 0}, false};
    warps[t / kLanes].alive |= 1u << t % kLanes;
    order.make_ready(t);
  }
  while (alive) {
    const int64_t t = order.take();
    if (t < 0) note(std::to_string(alive) + " threads wait for ever, the last barrier is at " + name_of(barrier_site));
    if (t < 0 || threads[t].done) continue;
    running = &threads[t];
    // Other fibers for the next block's threads: one fiber's actions are never a race.
    running_fiber = fibers[(t + number) % count].get();
    running_fiber->enter();
    end_at_a_report();
  }
}

bool fits(const Index& grid, const Index& block) {
  return grid.x && grid.x <= 2147483647u && grid.y && grid.y <= 65535 && grid.z && grid.z <= 65535 && block.x &&
         block.x <= kMostThreads && block.y == 1 && block.z == 1;
}

}  // namespace

const Index& thread_index() { return running->index; }
const Index& block_index() { return block_now; }
const Index& block_size() { return block_shape; }
const Index& grid_size() { return grid_shape; }

void fail(const std::string& what) { throw std::runtime_error(what); }

void synchronise(Site site) {
  const Unwatched unwatched;
  remember(site);
  if (site.line() == missing_line && site.file_name() == missing_file) return;
  if (alive < begun) fail("threads have left and others wait at " + name_of(site));
  if (!waiting.empty() && !same(site, barrier_site))
    fail("threads of a block wait at " + name_of(site) + " and at " + name_of(barrier_site));
  barrier_site = site;
  waiting.push_back(running->index.x);
  __tsan_release(passed_now);
  if (waiting.size() == begun) {
    for (const uint32_t t : waiting) order.make_ready(t);
    waiting.clear();
  }
  wait();
  __tsan_acquire(passed_now);
}

// Orders lanes, but no memory: what passes through shared memory needs a barrier all the same.
const uint64_t* exchange(uint32_t mask, uint64_t bits, Site site) {
  const Unwatched unwatched;
  Warp& warp = warps[running->warp()];
  const uint32_t me = 1u << running->lane();
  if (!(mask & me)) fail("a lane is not in its own mask at " + name_of(site));
  if (mask & ~warp.alive) fail("a lane of the mask has left at " + name_of(site));
  if (warp.arrived && !same(site, warp.site))
    fail("lanes of a warp wait at " + name_of(site) + " and at " + name_of(warp.site));
  if (warp.arrived && mask != warp.mask) fail("lanes of a warp have different masks at " + name_of(site));
  warp.site = site;
  warp.mask = mask;
  warp.arrived |= me;
  auto& values = warp.values[warp.turn % 2];
  values[running->lane()] = bits;
  if (warp.arrived == mask) {
    warp.arrived = 0;
    ++warp.turn;
    for (uint32_t lane = 0; lane < kLanes; ++lane)
      if (mask >> lane & 1) order.make_ready(running->warp() * kLanes + lane);
  }
  wait();
  return values.data();
}

void* shared_variable(size_t bytes, size_t alignment, Site site) {
  const Unwatched unwatched;
  void* p = shared_memory.variable(bytes, alignment, site);
  if (shared_memory.used() > kMostShared) fail("more than 48 KiB of shared memory at " + name_of(site));
  return p;
}

void* dynamic_shared() { return shared_memory.dynamic(); }

float approximate(double exact) {
  float value = float(exact);
  if (!std::isfinite(value) || value == 0.0f) return value;
  const uint64_t mixed = std::bit_cast<uint64_t>(exact) * 0x9E3779B97F4A7C15u;
  const int digits = int(mixed >> 60) % 5 - 2;
  for (int i = 0; i < std::abs(digits); ++i) value = std::nextafterf(value, digits < 0 ? -INFINITY : INFINITY);
  return value;
}

void launch(const void* kernel, Index grid, Index block, size_t shared, const std::function<void()>& body) {
  const std::lock_guard<std::mutex> lock(one_launch);
  const Unwatched unwatched;
  if (!fits(grid, block) || shared > kMostShared) {
    error = fits(grid, block) ? kInvalidValue : kInvalidConfiguration;
    return;
  }
  ++launches[kernel];
  while (fibers.size() < block.x) fibers.push_back(std::make_unique<Fiber>(run_threads));
  grid_shape = grid, block_shape = block, body_now = &body;
  failure.clear();
  reported = size_of_reports();
  std::vector<uint64_t> numbers(uint64_t(grid.x) * grid.y * grid.z);
  for (uint64_t i = 0; i < numbers.size(); ++i) numbers[i] = i;
  order.arrange(numbers);
  // Blocks of a launch are in no order to each other, launches are.
  __tsan_release(&launched);
  for (const uint64_t i : numbers) {
    block_now = {uint32_t(i % grid.x), uint32_t(i / grid.x % grid.y), uint32_t(i / grid.x / grid.y)};
    run_block(block.x, uint32_t(i), shared);
    if (!failure.empty()) break;
  }
  __tsan_acquire(&finished);
  if (failure.empty()) return;
  last_failure = failure;
  throw std::runtime_error("emulated kernel: " + failure);
}

int last_error() { return std::exchange(error, 0); }

}  // namespace emulated

extern "C" {

// 0: lowest numbers first; 1: highest first; anything else: the seed of a random order.
void emulated_order(uint64_t kind) { emulated::order.choose(kind); }

// As if the barrier at this line were not there; line 0: all are.
void emulated_remove_barrier(const char* file, uint32_t line) {
  emulated::missing_file = file;
  emulated::missing_line = line;
}

// Where a sanitizer writes.
void emulated_watch(const char* file) { emulated::report_file = file; }

// Of launches and barriers.
void emulated_forget() {
  emulated::launches.clear();
  emulated::barriers.clear();
}

// What was wrong with a launch since the last question, or nothing.
const char* emulated_failure() {
  static std::string answer;
  answer = std::exchange(emulated::last_failure, "");
  return answer.c_str();
}

// "address count" of every kernel launched, a line each; addresses as `nm` has them.
const char* emulated_launches() {
  static std::string answer;
  answer.clear();
  for (const auto& [kernel, count] : emulated::launches) {
    Dl_info info;
    dladdr(kernel, &info);
    const auto at = reinterpret_cast<uintptr_t>(kernel) - reinterpret_cast<uintptr_t>(info.dli_fbase);
    answer += std::to_string(at) + " " + std::to_string(count) + "\n";
  }
  return answer.c_str();
}

// "file:line" of every barrier that a thread came to, a line each.
const char* emulated_barriers() {
  static std::string answer;
  answer.clear();
  for (const emulated::Site& site : emulated::barriers) answer += emulated::name_of(site) + "\n";
  return answer.c_str();
}

}
