#include "db/database.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <unistd.h>

#include <filesystem>
#include <map>

namespace berth::db {

Error Damaged(std::string_view file, std::string problem) {
  return Error(Reason::kCorrupt, std::move(problem))
      .Next("put a good copy of " + std::string(file) + " back, or move the store away and pull the images again");
}

struct Database::State {
  ~State() {
    for (auto& [sql, statement] : statements) sqlite3_finalize(statement);
    sqlite3_close(handle);
  }
  sqlite3* handle = nullptr;
  std::string file;  // its name without the folder, for people
  std::map<std::string, sqlite3_stmt*, std::less<>> statements;  // not in use unless a Cursor holds it
};

std::int64_t Row::Int(int column) const { return sqlite3_column_int64(statement_, column); }
std::string_view Row::Text(int column) const {
  const auto* text = reinterpret_cast<const char*>(sqlite3_column_text(statement_, column));
  if (text == nullptr) return {};
  return {text, static_cast<std::size_t>(sqlite3_column_bytes(statement_, column))};
}
bool Row::IsNull(int column) const { return sqlite3_column_type(statement_, column) == SQLITE_NULL; }
std::optional<std::string> Row::OptionalText(int column) const {
  if (IsNull(column)) return std::nullopt;
  return std::string(Text(column));
}

Database::Cursor::~Cursor() {
  if (statement_ == nullptr) return;
  sqlite3_reset(statement_);
  sqlite3_clear_bindings(statement_);
}
void Database::Cursor::Bind(int place, std::int64_t value) { sqlite3_bind_int64(statement_, place, value); }
void Database::Cursor::Bind(int place, std::string_view value) {
  // Copied: the argument may be a temporary.
  sqlite3_bind_text64(statement_, place, value.data() == nullptr ? "" : value.data(), value.size(), SQLITE_TRANSIENT, SQLITE_UTF8);
}
Result<bool> Database::Cursor::Step() {
  const int status = sqlite3_step(statement_);
  if (status == SQLITE_ROW) return true;
  if (status == SQLITE_DONE) return false;
  return db_->Failed(sqlite3_sql(statement_));
}

Database::Database(std::unique_ptr<State> state) : state_(std::move(state)) {}
Database::~Database() = default;

Error Database::Failed(std::string_view what) const {
  const int code = sqlite3_extended_errcode(state_->handle);
  // SQLite's own words name tables, columns and files, never bound values.
  std::string text = state_->file + ": " + std::string(sqlite3_errmsg(state_->handle)) + " (" + std::string(what.substr(0, 60)) + ")";
  switch (code & 0xff) {
    case SQLITE_FULL: return Error(Reason::kNoSpace, std::move(text)).Next("free space on the file system of the store");
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB: return Damaged(state_->file, std::move(text));
    case SQLITE_CONSTRAINT: return Error(Reason::kConflict, std::move(text));
    case SQLITE_IOERR: return result::FromErrno(sqlite3_system_errno(state_->handle), text);
    default: return Error(Reason::kIo, std::move(text));
  }
}

Result<std::unique_ptr<Database>> Database::Open(const std::string& path, std::span<const std::string_view> migrations, Access access) {
  auto state = std::make_unique<State>();
  state->file = path.substr(path.rfind('/') + 1);
  const int flags = SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE | SQLITE_OPEN_NOFOLLOW |
                    (access == Access::kReadOnly ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE);
  // SQLITE_OPEN_NOFOLLOW refuses links in every part of a path; ours is about the file, and the way there is the operator's.
  std::error_code error;
  const auto folder = std::filesystem::canonical("./" / std::filesystem::path(path).parent_path(), error);
  if (error) return result::FromErrno(error.value(), "find the folder").Context(Quoted(path));
  const std::string place = folder / state->file;
  // SQLite would create it readable for all that our umask lets read, and gives its journals the mode that it has.
  if (access == Access::kReadWrite) {
    const int fd = ::open(place.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd >= 0) ::close(fd);
  }
  const int status = sqlite3_open_v2(place.c_str(), &state->handle, flags, nullptr);
  std::unique_ptr<Database> db(new Database(std::move(state)));
  if (status != SQLITE_OK) return db->Failed("open").Context(Quoted(path));
  sqlite3_busy_timeout(db->state_->handle, 10'000);  // a reader may meet a checkpoint
  sqlite3_db_config(db->state_->handle, SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
  sqlite3_db_config(db->state_->handle, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, nullptr);
  const auto ignore = [](const Row&) -> Result<> { return {}; };
  if (access == Access::kReadWrite) RETURN_IF_ERROR(db->Query("PRAGMA journal_mode=WAL", ignore));
  for (const char* pragma : {"PRAGMA synchronous=FULL", "PRAGMA foreign_keys=ON", "PRAGMA temp_store=MEMORY", "PRAGMA cache_size=-1024"})
    RETURN_IF_ERROR(db->Query(pragma, ignore));
  RETURN_IF_ERROR(db->Migrate(migrations, access));
  return db;
}

Result<> Database::Migrate(std::span<const std::string_view> migrations, Access access) {
  std::int64_t version = 0;
  RETURN_IF_ERROR(Query("PRAGMA user_version", [&](const Row& row) -> Result<> { version = row.Int(0); return {}; }));
  const auto wanted = static_cast<std::int64_t>(migrations.size());
  if (version > wanted || (version < wanted && access == Access::kReadOnly)) {
    return Error(Reason::kConfig, "the catalog has schema " + std::to_string(version) + ", this berth knows " + std::to_string(wanted))
        .Next(version > wanted ? "run the newer berth that wrote this store" : "start berthd once: it brings the catalog up to date");
  }
  for (; version < wanted; ++version) {
    ASSIGN_OR_RETURN(Transaction tx, Begin());
    char* message = nullptr;
    const std::string sql(migrations[static_cast<std::size_t>(version)]);
    const int status = sqlite3_exec(state_->handle, sql.c_str(), nullptr, nullptr, &message);
    sqlite3_free(message);
    if (status != SQLITE_OK) return Failed("migration " + std::to_string(version + 1));
    const std::string stamp = "PRAGMA user_version=" + std::to_string(version + 1);
    if (sqlite3_exec(state_->handle, stamp.c_str(), nullptr, nullptr, nullptr) != SQLITE_OK) return Failed(stamp);
    RETURN_IF_ERROR(tx.Commit());
  }
  return {};
}

Result<Database::Cursor> Database::Prepare(std::string_view sql) {
  auto it = state_->statements.find(sql);
  if (it == state_->statements.end()) {
    sqlite3_stmt* statement = nullptr;
    if (sqlite3_prepare_v3(state_->handle, sql.data(), static_cast<int>(sql.size()), SQLITE_PREPARE_PERSISTENT, &statement, nullptr) !=
        SQLITE_OK)
      return Failed(sql);
    it = state_->statements.emplace(std::string(sql), statement).first;
  }
  BERTH_CHECK(!sqlite3_stmt_busy(it->second));  // a query inside its own callback
  return Cursor(this, it->second);
}

Result<Database::Transaction> Database::Begin() {
  RETURN_IF_ERROR(Run("BEGIN IMMEDIATE"));
  return Transaction(this);
}
Result<Database::Transaction> Database::Snapshot() {
  RETURN_IF_ERROR(Run("BEGIN DEFERRED"));
  return Transaction(this);
}
Result<> Database::Transaction::Commit() {
  Database* db = std::exchange(db_, nullptr);
  Result<> committed = db->Run("COMMIT");
  if (!committed && sqlite3_get_autocommit(db->state_->handle) == 0) (void)db->Run("ROLLBACK");
  return committed;
}
Database::Transaction::~Transaction() {
  if (db_ != nullptr && sqlite3_get_autocommit(db_->state_->handle) == 0) (void)db_->Run("ROLLBACK");
}

std::int64_t Database::changes() const { return sqlite3_changes64(state_->handle); }
std::int64_t Database::last_row_id() const { return sqlite3_last_insert_rowid(state_->handle); }

Result<std::string> Database::QuickCheck() {
  std::string finding;
  RETURN_IF_ERROR(Query("PRAGMA quick_check(1)", [&](const Row& row) -> Result<> { finding = row.Text(0); return {}; }));
  return finding;
}

}  // namespace berth::db
