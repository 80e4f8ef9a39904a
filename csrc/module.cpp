// The only file that knows Python, and only its stable ABI: what this binary was built with, the same for Python 3.11 and
// every later one. Operators register themselves in cpu/ and cuda/.
#include <Python.h>

namespace {

PyObject* build_info(PyObject*, PyObject*) {
#ifdef SPECTAC_FAST_CUDA_VERSION
  const char* cuda = SPECTAC_FAST_CUDA_VERSION;
#else
  const char* cuda = nullptr;
#endif
  return Py_BuildValue("{s:s,s:s,s:z}", "compiler", SPECTAC_FAST_COMPILER, "torch", SPECTAC_FAST_TORCH, "cuda", cuda);
}

PyMethodDef functions[] = {
    {"build_info", build_info, METH_NOARGS,
     "Compiler, torch and CUDA versions of this build (cuda is None without CUDA)."},
    {nullptr, nullptr, 0, nullptr}};

PyModuleDef_Slot slots[] = {{0, nullptr}};

PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "_C", "C++ and CUDA operators of spectac_fast", 0, functions, slots, nullptr, nullptr, nullptr};

}  // namespace

PyMODINIT_FUNC PyInit__C() { return PyModuleDef_Init(&module); }
