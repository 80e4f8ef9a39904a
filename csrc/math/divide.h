// Division by a number that stays the same, as a multiplication and a shift (Granlund and Montgomery 1994).
#pragma once

#include "math/hd.h"

namespace sf {

// Of numbers below 2^31; those above give something, but not the quotient.
struct Divider {
  uint32_t divisor, factor, shift;

  SF_HD uint32_t quotient(uint32_t n) const { return uint32_t(uint64_t(n) * factor >> shift); }
  SF_HD uint32_t rest(uint32_t n) const { return n - quotient(n) * divisor; }
};

// divisor: 1 ... 2^31 - 1. The factor is above 2^shift / divisor by less than 2^(shift - 31) / divisor, which is too
// little to lift any product over the next whole number.
inline Divider divider_by(uint32_t divisor) {
  uint32_t log = 0;
  while (uint64_t(1) << log < divisor) ++log;
  return {divisor, uint32_t((uint64_t(1) << (31 + log)) / divisor + 1), 31 + log};
}

}  // namespace sf
