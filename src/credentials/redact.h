// credentials/redact.h: outside text made fit for an error: known secrets and whatever looks like one are taken out.
//
// For the last words of a program that was given or returned secrets. What looks like a token: a run of 24 or more letters,
// digits and + / = _ - with a letter and a digit in it (keys, JWTs, base64, hexadecimal; also long request ids: better one
// word too few), and the word behind "password=", "token:", "Bearer " and their like. Rather careful than complete: a program that means to betray a secret can always encode it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "secret/secret.h"

namespace berth::credentials {

class Redactor {
 public:
  // Shorter than 3 bytes: not a secret, left alone.
  void Add(std::string_view secret);
  // Every word (between blanks, quotes and commas) of 6 bytes and more of output that may hold secrets. At most 64 KiB of it.
  void AddWordsOf(std::string_view output);
  // At most the last `keep` bytes of `text`, secrets replaced by "[redacted]" before anything is cut; a text that starts in
  // the middle of a known secret loses that, too.
  std::string Apply(std::string_view text, std::size_t keep = 256) const;

 private:
  std::vector<secret::Secret> known_;
};

}  // namespace berth::credentials
