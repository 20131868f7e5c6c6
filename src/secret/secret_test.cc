#include "secret/secret.h"

#include <gtest/gtest.h>

#include <ostream>
#include <type_traits>

namespace berth::secret {
namespace {

template <class T>
concept Printable = requires(std::ostream& out, const T& t) { out << t; };

static_assert(Printable<std::string> && !Printable<Secret>, "a Secret must have no printer");
static_assert(!std::is_convertible_v<Secret, std::string> && !std::is_convertible_v<Secret, std::string_view>);
static_assert(!std::is_copy_constructible_v<Secret>);

TEST(Secret, TakeWipesTheOriginal) {
  std::string password = "hunter2-and-longer-than-the-small-buffer";
  const char* at = password.data();
  Secret s = Secret::Take(password);
  EXPECT_TRUE(password.empty());
  EXPECT_EQ(std::string_view(at, 7), std::string_view("\0\0\0\0\0\0\0", 7));
  EXPECT_EQ(s.Reveal(), "hunter2-and-longer-than-the-small-buffer");
}

TEST(Secret, MoveLeavesNothingBehind) {
  Secret a("short");
  Secret b = std::move(a);
  EXPECT_TRUE(a.empty());  // NOLINT(bugprone-use-after-move): that is the assertion
  EXPECT_TRUE(b == Secret("short"));
  EXPECT_FALSE(b == Secret("shore"));
  EXPECT_FALSE(b == Secret("shorter"));
}

}  // namespace
}  // namespace berth::secret
