// The only file that knows Python: what this binary was built with. Operators register themselves in cpu/ and cuda/.
#include <pybind11/pybind11.h>

namespace {

pybind11::dict build_info() {
  pybind11::dict info;
  info["compiler"] = SPECTAC_FAST_COMPILER;
  info["torch"] = SPECTAC_FAST_TORCH;
#ifdef SPECTAC_FAST_CUDA_VERSION
  info["cuda"] = SPECTAC_FAST_CUDA_VERSION;
#else
  info["cuda"] = pybind11::none();
#endif
  return info;
}

}  // namespace

PYBIND11_MODULE(_C, m) {
  m.doc() = "C++ and CUDA operators of spectac_fast";
  m.def("build_info", &build_info, "Compiler, torch and CUDA versions of this build (cuda is None without CUDA).");
}
