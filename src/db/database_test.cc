#include "db/database.h"

#include <sys/stat.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <vector>

namespace berth::db {
namespace {

using testing::ElementsAre;

constexpr std::array<std::string_view, 1> kOne{"CREATE TABLE t(name TEXT PRIMARY KEY, size INTEGER) STRICT;"};
constexpr std::array<std::string_view, 2> kTwo{kOne[0], "ALTER TABLE t ADD COLUMN note TEXT;"};

class DatabaseTest : public testing::Test {
 protected:
  DatabaseTest() {
    std::string pattern = (std::filesystem::temp_directory_path() / "berth-db-XXXXXX").string();
    folder_ = ::mkdtemp(pattern.data());
    path_ = folder_ + "/catalog.db";
  }
  ~DatabaseTest() override { std::filesystem::remove_all(folder_); }
  static std::vector<std::string> Names(Database& db) {
    std::vector<std::string> names;
    EXPECT_TRUE(db.Query("SELECT name FROM t ORDER BY name", [&](const Row& r) -> Result<> { names.emplace_back(r.Text(0)); return {}; }));
    return names;
  }
  std::string folder_, path_;
};

TEST_F(DatabaseTest, CommitsAndRollsBack) {
  auto db = *Database::Open(path_, kOne);
  {
    auto tx = *db->Begin();
    ASSERT_TRUE(db->Run("INSERT INTO t VALUES(?, ?)", "kept", 7));
    ASSERT_TRUE(tx.Commit());
  }
  {
    auto tx = *db->Begin();
    ASSERT_TRUE(db->Run("INSERT INTO t VALUES(?, ?)", "dropped", std::nullopt));
  }
  EXPECT_THAT(Names(*db), ElementsAre("kept"));
  db = *Database::Open(path_, kOne);
  EXPECT_THAT(Names(*db), ElementsAre("kept"));
}

TEST_F(DatabaseTest, NobodyElseReadsIt) {
  const auto before = ::umask(0);
  auto db = *Database::Open(path_, kOne);
  ASSERT_TRUE(db->Run("INSERT INTO t VALUES('a', 1)"));
  ::umask(before);
  for (const auto& file : std::filesystem::directory_iterator(folder_)) {
    EXPECT_EQ(std::filesystem::status(file.path()).permissions(), std::filesystem::perms(0600)) << file.path();
  }
  EXPECT_EQ(Names(*db), std::vector<std::string>{"a"});
}

// A store that was moved to a larger disk.
TEST_F(DatabaseTest, ALinkMayLeadToItsFolderButIsNotTheFile) {
  const std::string moved = folder_ + "/moved";
  std::filesystem::create_directory(moved);
  std::filesystem::create_directory_symlink(moved, folder_ + "/link");
  std::filesystem::create_directory(moved + "/below");
  for (const std::string& path : {folder_ + "/link/catalog.db", folder_ + "/link/below/catalog.db", folder_ + "/link//objects.db"}) {
    const auto db = Database::Open(path, kOne);
    ASSERT_TRUE(db) << db.error().Text();
    EXPECT_TRUE(Database::Open(path, kOne, Access::kReadOnly));
  }
  EXPECT_TRUE(std::filesystem::exists(moved + "/below/catalog.db"));
  std::filesystem::create_symlink(moved + "/catalog.db", path_);
  std::filesystem::create_symlink(moved + "/none.db", moved + "/dangling.db");
  for (const std::string& path : {path_, folder_ + "/link/dangling.db", folder_ + "/none/catalog.db"}) {
    const auto db = Database::Open(path, kOne);
    ASSERT_FALSE(db) << path;
    EXPECT_EQ(db.error().reason(), Reason::kIo) << db.error().Text();
    EXPECT_THAT(db.error().Text(), ::testing::HasSubstr(path));
  }
  EXPECT_FALSE(std::filesystem::exists(moved + "/none.db"));
}

TEST_F(DatabaseTest, ValuesAndNullsRoundTrip) {
  auto db = *Database::Open(path_, kTwo);
  const std::string odd("a\0b", 3);
  ASSERT_TRUE(db->Run("INSERT INTO t VALUES(?, ?, ?)", odd, std::int64_t{1} << 40, std::optional<std::string>()));
  ASSERT_TRUE(db->Query("SELECT name, size, note FROM t", [&](const Row& row) -> Result<> {
    EXPECT_EQ(row.Text(0), odd);
    EXPECT_EQ(row.Int(1), std::int64_t{1} << 40);
    EXPECT_TRUE(row.IsNull(2));
    EXPECT_EQ(row.OptionalText(2), std::nullopt);
    return {};
  }));
}

TEST_F(DatabaseTest, MigratesForwardAndRefusesTheFuture) {
  (void)*Database::Open(path_, kOne);
  auto db = *Database::Open(path_, kTwo);
  EXPECT_TRUE(db->Run("INSERT INTO t(name, note) VALUES('a', 'b')"));
  db.reset();
  EXPECT_EQ(Database::Open(path_, kOne).error().reason(), Reason::kConfig);
  EXPECT_TRUE(Database::Open(path_, kTwo, Access::kReadOnly));
}

TEST_F(DatabaseTest, AConstraintIsAConflict) {
  auto db = *Database::Open(path_, kOne);
  ASSERT_TRUE(db->Run("INSERT INTO t VALUES('a', 1)"));
  EXPECT_EQ(db->Run("INSERT INTO t VALUES('a', 1)").error().reason(), Reason::kConflict);
}

TEST_F(DatabaseTest, DamageIsCorrupt) {
  std::ofstream(path_) << std::string(8192, 'x');
  const auto db = Database::Open(path_, kOne);
  ASSERT_FALSE(db);
  EXPECT_EQ(db.error().reason(), Reason::kCorrupt);
  EXPECT_THAT(db.error().Text(), ::testing::HasSubstr("catalog.db: "));
  EXPECT_EQ(db.error().next_step(), "put a good copy of catalog.db back, or move the store away and pull the images again");
}

TEST_F(DatabaseTest, ReadersSeeTheLastCommitWhileAWriterIsAtWork) {
  auto writer = *Database::Open(path_, kOne);
  auto reader = *Database::Open(path_, kOne, Access::kReadOnly);
  auto tx = *writer->Begin();
  ASSERT_TRUE(writer->Run("INSERT INTO t VALUES('a', 1)"));
  EXPECT_THAT(Names(*reader), ElementsAre());
  ASSERT_TRUE(tx.Commit());
  EXPECT_THAT(Names(*reader), ElementsAre("a"));
  EXPECT_EQ(*reader->QuickCheck(), "ok");
}

TEST_F(DatabaseTest, AnErrorOfTheCallbackEndsTheQuery) {
  auto db = *Database::Open(path_, kOne);
  ASSERT_TRUE(db->Run("INSERT INTO t VALUES('a', 1), ('b', 2)"));
  int rows = 0;
  const auto got = db->Query("SELECT name FROM t", [&](const Row&) -> Result<> { ++rows; return Error(Reason::kCanceled, "enough"); });
  EXPECT_TRUE(got.error().cancelled());
  EXPECT_EQ(rows, 1);
  EXPECT_TRUE(db->Query("SELECT name FROM t", [&](const Row&) -> Result<> { ++rows; return {}; }));
  EXPECT_EQ(rows, 3);
}

}  // namespace
}  // namespace berth::db
