// db/database.h: one SQLite connection, its statements and transactions.
//
//   ASSIGN_OR_RETURN(auto db, Database::Open(path, kMigrations));
//   ASSIGN_OR_RETURN(auto tx, db->Begin());
//   RETURN_IF_ERROR(db->Run("INSERT INTO names(name, target) VALUES(?, ?)", name, digest));
//   RETURN_IF_ERROR(tx.Commit());          // durable when this returns
//
// WAL, synchronous=FULL, foreign keys on, temp store in memory: a committed transaction survives a power cut.
// Migrations are numbered by their place in the list (PRAGMA user_version) and run in one transaction each; a database
// written by a newer berth is refused (kConfig). Statements are prepared once and cached by their text.
// Links may lead to the folder of the file; a file that is one itself is refused.
// Errors: SQLITE_FULL is kNoSpace, damage is kCorrupt, a constraint is kConflict, the rest kIo; the text names the
// operation, never bound values.
//
// One thread at a time per Database; open several on one file for concurrent readers.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "result/result.h"

struct sqlite3;
struct sqlite3_stmt;

namespace berth::db {

// kCorrupt with the way out: a daemon cannot mend its database, and without one it does not start.
Error Damaged(std::string_view file, std::string problem);

// One row of a running query; column numbers from 0. Views are valid until the next row.
class Row {
 public:
  std::int64_t Int(int column) const;
  std::string_view Text(int column) const;
  bool IsNull(int column) const;
  std::optional<std::string> OptionalText(int column) const;

 private:
  friend class Database;
  explicit Row(sqlite3_stmt* statement) : statement_(statement) {}
  sqlite3_stmt* statement_;
};

enum class Access : std::uint8_t { kReadWrite, kReadOnly };

class Database {
 public:
  // Creates the file (mode 0600) when absent and brings its schema up to date. Read-only: must exist and be current.
  static Result<std::unique_ptr<Database>> Open(const std::string& path, std::span<const std::string_view> migrations,
                                                Access access = Access::kReadWrite);
  ~Database();
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  // A write transaction from here to Commit(); dropped without it: rolled back.
  class Transaction {
   public:
    Transaction(Transaction&& o) noexcept : db_(std::exchange(o.db_, nullptr)) {}
    Transaction& operator=(Transaction&&) = delete;
    ~Transaction();
    Result<> Commit();

   private:
    friend class Database;
    explicit Transaction(Database* db) : db_(db) {}
    Database* db_;
  };
  Result<Transaction> Begin();
  // All queries until it goes see the state of the first one, whatever is committed meanwhile.
  Result<Transaction> Snapshot();

  // A statement without rows. Arguments: std::int64_t and what converts to it, text, std::nullopt_t, std::optional.
  template <class... Args>
  Result<> Run(std::string_view sql, const Args&... args) {
    return Query(sql, [](const Row&) -> Result<> { return {}; }, args...);
  }
  // Calls `each` with every row; its error ends the query.
  template <class Each, class... Args>
  Result<> Query(std::string_view sql, Each&& each, const Args&... args) {
    ASSIGN_OR_RETURN(Cursor cursor, Prepare(sql));
    [[maybe_unused]] int place = 0;
    (cursor.Bind(++place, args), ...);
    for (;;) {
      ASSIGN_OR_RETURN(const bool more, cursor.Step());
      if (!more) return {};
      RETURN_IF_ERROR(each(cursor.row()));
    }
  }
  std::int64_t changes() const;          // rows changed by the last Run
  std::int64_t last_row_id() const;
  // "ok", or the first finding of SQLite's quick check.
  Result<std::string> QuickCheck();

 private:
  class Cursor {
   public:
    Cursor(Database* db, sqlite3_stmt* statement) : db_(db), statement_(statement) {}
    Cursor(Cursor&& o) noexcept : db_(o.db_), statement_(std::exchange(o.statement_, nullptr)) {}
    ~Cursor();
    void Bind(int place, std::int64_t value);
    void Bind(int place, int value) { Bind(place, static_cast<std::int64_t>(value)); }
    void Bind(int place, bool value) { Bind(place, static_cast<std::int64_t>(value)); }
    void Bind(int place, std::uint64_t value) { Bind(place, static_cast<std::int64_t>(value)); }
    void Bind(int place, std::string_view value);
    void Bind(int place, const std::string& value) { Bind(place, std::string_view(value)); }
    void Bind(int place, const char* value) { Bind(place, std::string_view(value)); }
    void Bind(int, std::nullopt_t) {}  // parameters are NULL until bound
    template <class T>
    void Bind(int place, const std::optional<T>& value) { if (value) Bind(place, *value); }
    Result<bool> Step();
    Row row() const { return Row(statement_); }

   private:
    Database* db_;
    sqlite3_stmt* statement_;
  };

  struct State;
  explicit Database(std::unique_ptr<State> state);
  Result<Cursor> Prepare(std::string_view sql);
  Error Failed(std::string_view what) const;
  Result<> Migrate(std::span<const std::string_view> migrations, Access access);

  std::unique_ptr<State> state_;
};

}  // namespace berth::db
