// What the runtime throws.
#pragma once

#include <stdexcept>

namespace pipe {

// A program that cannot be loaded or run: what is wrong and where.
struct ProgramError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Input data that a kernel cannot take (an id that the table has no row for), found before anything is done with it.
struct DataError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

}  // namespace pipe
