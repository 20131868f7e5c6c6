#include "apps/berth/cli.h"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <map>
#include <memory>

#include "apps/berth/cmd_admit.h"
#include "apps/berth/cmd_explain.h"
#include "apps/berth/cmd_objects.h"
#include "apps/berth/commands.h"
#include "apps/berth/completion.h"
#include "apps/berth/format.h"
#include "apps/berth/list.h"
#include "bytes/text.h"

namespace berth::cli {
namespace {

using Words = std::vector<std::string>;
using Arguments = CommandSpec::Arguments;

std::string Joined(const Words& words, std::string_view separator) {
  std::string out;
  for (const auto& word : words) out += (out.empty() ? "" : std::string(separator)) + word;
  return out;
}

std::string Nearest(std::string_view word, const Words& candidates) {
  const auto best = std::ranges::min_element(candidates, {}, [&](const auto& c) { return bytes::EditDistance(word, c); });
  return best != candidates.end() && bytes::EditDistance(word, *best) <= std::max<std::size_t>(1, word.size() / 3) ? *best : "";
}

// Before anything else is known of the arguments: what is wrong with them is said in the form that they ask for.
bool WantsJson(const Words& arguments) {
  for (std::size_t i = 0; i < arguments.size() && arguments[i] != "--"; ++i) {
    std::string_view word = arguments[i];
    if ((word == "-o" || word == "--output" || word == "--progress") && i + 1 < arguments.size()) word = arguments[i + 1];
    else if (word.starts_with("--output=")) word.remove_prefix(9);
    else if (word.starts_with("--progress=")) word.remove_prefix(11);
    else if (word.starts_with("-o")) word.remove_prefix(word.starts_with("-o=") ? 3 : 2);
    else continue;
    if (word == "json" || word == "jsonl") return true;
  }
  return false;
}

// For a command that takes one argument and is given all of them, to say itself what is wrong with a second.
class OneArgument : public CLI::Formatter {
  std::string make_option_usage(const CLI::Option* option) const override { return "[" + make_option_name(option, true) + "]"; }
  std::string make_option_opts(const CLI::Option* option) const override {
    return option->get_positional() ? "" : CLI::Formatter::make_option_opts(option);
  }
};

// The whole grammar: one CLI11 application whose values land in the option structs of commands.h.
class Grammar {
 public:
  Grammar() {
    app_.name("berth");
    app_.require_subcommand(0, 1);
    app_.allow_extras();
    app_.fallthrough();
    app_.set_version_flag("--version", std::string("berth ") + BERTH_VERSION);
    app_.add_option("-s,--socket,-i,--image-endpoint", globals_.socket,
                    "berthd's socket (else BERTH_SOCKET, IMAGE_SERVICE_ENDPOINT, CONTAINER_RUNTIME_ENDPOINT, /run/berth/berth.sock)")->type_name("PATH");
    app_.add_option("-r,--runtime-endpoint", ignored_, "accepted for crictl's sake, not used")->type_name("PATH")->group("");
    app_.add_option("--timeout", globals_.timeout, "give up after this long (90s, 15m): exit status 124")->type_name("TIME");
    Words_(app_.add_option("--color", globals_.colour, "colours on stderr"), {"auto", "always", "never"});
    app_.add_option("-o,--output", early_output_, "form of the output: see each command")->type_name("FORM");
    app_.add_option("-v,--v", verbosity_, "how much to tell on stderr: 0, 1 what is done, 4 files and requests, … 10")->type_name("NUMBER")->check([](const std::string& text) {
      const bool good = !text.empty() && text.size() <= 2 && text.find_first_not_of("0123456789") == text.npos && std::stoi(text) <= 10;
      return good ? std::string() : "a number from 0 to 10 is wanted";
    });
    app_.add_flag("-q,--quiet", globals_.quiet, "data only, no talk (images: ids only)");
    app_.add_flag("--no-trunc", globals_.no_trunc, "whole digests on a terminal too");
    app_.add_flag("--no-headers", globals_.no_headers, "tables without their first line");

    CLI::App* sub = Command("pull", "fetch, verify and unpack images", Arguments::kImages, [this](Session& s) { return Pull(s, std::move(pull_)); });
    sub->add_option("IMAGE", pull_.images, "names of images");
    Repeated(sub->add_option("--platform", pull_.platforms, "os/arch[/variant], may be repeated (else the node's)")->type_name("PLATFORM"));
    sub->add_flag("--all-platforms", pull_.all_platforms, "every image of the index");
    Words_(sub->add_option("--policy", pull_.policy, "when the registry is asked"), {"IfNotPresent", "Always", "Never"});
    Auth_(sub, pull_.auth);
    Words_(sub->add_option("--progress", pull_.progress, "how progress is shown on stderr"), {"auto", "tty", "tty,layers", "plain", "json", "none"});
    Output_(sub, {"table", "json", "jsonl"});

    sub = Command("images", "list images", Arguments::kImages, [this](Session& s) { return Images(s, images_); });
    sub->add_option("NAME", images_.name, "only this repository or name");
    Repeated(sub->add_option("--filter", images_.filters, "dangling=BOOL, pinned=BOOL, reference=PATTERN, registry=HOST, before=IMAGE, since=IMAGE, label=KEY[=VALUE]; may be repeated")
                 ->type_name("KEY=VALUE"));
    CLI::Option* sort = sub->add_option("--sort-by", images_.sort_by, "by this member instead of the newest first; -KEY: descending");
    sort->type_name("KEY")->check([](const std::string& text) {
      const auto& keys = SortKeys();
      const bool known = std::ranges::find(keys, text.substr(text.starts_with('-') ? 1 : 0)) != keys.end();
      return known ? std::string() : "one of " + Joined(keys, ", ") + " is wanted";
    });
    values_[sort] = SortKeys();
    Output_(sub, {"table", "wide", "json", "jsonl", "yaml", "name"});

    sub = Command("inspect", "what is known of an image", Arguments::kImages, [this](Session& s) { return Inspect(s, inspect_); }, {"inspecti"});
    sub->add_option("IMAGE", inspect_.images, "names, ids or unique beginnings of ids");
    sub->add_option("--platform", inspect_.platform, "which image of an index")->type_name("PLATFORM");
    Words_(sub->add_option("--document", inspect_.document, "print this document's exact bytes"), {"target", "manifest", "config"});
    Output_(sub, {"table", "json", "jsonl", "yaml", "name"});

    sub = Command("rm", "take names from images; an image without names goes", Arguments::kImages,
                  [this](Session& s) { return Remove(s, remove_); }, {"rmi"});
    sub->add_option("IMAGE", remove_.images, "names, ids or unique beginnings of ids");
    sub->add_flag("--all-names", remove_.all_names, "all names of the image that each names");
    sub->add_flag("--force", remove_.force, "also what is pinned");
    Output_(sub, {"table", "json", "jsonl"});

    sub = Command("pin", "keep images from removal and garbage collection", Arguments::kImages, [this](Session& s) { return Pin(s, pin_); });
    sub->add_option("IMAGE", pin_.images, "names, ids or unique beginnings of ids");
    sub->add_option("--reason", pin_.reason, "why, for those who wonder later")->type_name("TEXT");
    Output_(sub, {"table", "json", "jsonl"});

    sub = Command("unpin", "let images go again", Arguments::kImages, [this](Session& s) { return Unpin(s, pin_.images); });
    sub->add_option("IMAGE", pin_.images, "names, ids or unique beginnings of ids");
    Output_(sub, {"table", "json", "jsonl"});

    sub = Command("mount", "mount an image at a directory; alone: list mounts", Arguments::kImageThenDirectory,
                  [this](Session& s) { return Mount(s, mount_); });
    sub->add_option("IMAGE", mount_.image, "name or id");
    sub->add_option("DIR", mount_.directory, "an existing directory");
    sub->add_flag("--writable", mount_.writable, "with a layer for changes, lost at unmount");
    sub->add_option("--platform", mount_.platform, "which image of an index")->type_name("PLATFORM");
    Output_(sub, {"table", "json", "jsonl", "name"});

    sub = Command("unmount", "undo mounts", Arguments::kDirectories, [this](Session& s) { return Unmount(s, list_); }, {"umount"});
    sub->add_option("DIR", list_, "where images are mounted");

    sub = Command("df", "what the store takes on disk", Arguments::kNone, [this](Session& s) { return DiskUsage(s, verbose_); }, {"imagefsinfo"});
    sub->add_flag("-v,--verbose", verbose_, "a row per image too");
    Output_(sub, {"table", "json", "jsonl"});

    sub = Command("fsck", "verify the store", Arguments::kNone, [this](Session& s) { return CheckStore(s, repair_, depth_); });
    sub->add_flag("--repair", repair_, "mend what can be mended; drop what cannot");
    Words_(sub->add_option("--depth", depth_, "how closely"), {"descriptor", "metadata", "data"});
    Output_(sub, {"table", "json", "jsonl"});

    sub = Command("gc", "image garbage collection: a round now, as the node does it every 5 minutes", Arguments::kNone,
                  [this](Session& s) { return Collect(s, collect_); });
    sub->add_flag("--dry-run", collect_.dry_run, "say what would go, in which order, and what stays and why");
    sub->add_option("--why", collect_.why, "whether this image would go, and why (a dry run)")->type_name("IMAGE");
    CLI::Option* target = sub->add_option("--target", collect_.target, "free until no more of the disk is used");
    target->type_name("PERCENT")->check([](const std::string& text) {
      const auto digits = text.substr(0, text.find('%'));
      const bool good = !digits.empty() && digits.size() <= 3 && digits.find_first_not_of("0123456789") == digits.npos &&
                        text.size() <= digits.size() + 1 && std::stoi(digits) >= 1 && std::stoi(digits) <= 100;
      return good ? std::string() : "1% to 100% is wanted";
    });
    sub->add_flag("--unused", collect_.unused, "all unused images, whatever the disk says");
    Output_(sub, {"table", "json", "jsonl"});

    sub = Command("reclaim", "free what no image needs, and partial downloads", Arguments::kNone, [this](Session& s) { return Reclaim(s, age_); });
    sub->add_option("--age", age_, "only what is older (90s, 15m, 2h, 7d)")->type_name("TIME")->check([](const std::string& text) {
      return ParseDuration(text) ? std::string() : "a time like 90s, 15m, 2h or 7d is wanted";
    });
    Output_(sub, {"table", "json", "jsonl"});

    sub = Command("doctor", "what this machine has, lacks, and what that means", Arguments::kNone, [this](Session& s) { return Doctor(s, verbose_); });
    sub->add_flag("-v,--verbose", verbose_, "the daemon's limits too");
    Output_(sub, {"table", "json", "jsonl"});

    sub = Command("explain", "why an image is, was or would be pulled or refused, and what to do", Arguments::kImages,
                  [this](Session& s) { return Explain(s, std::move(explain_)); });
    sub->formatter(std::make_shared<OneArgument>());
    sub->add_option("IMAGE", explain_.words, "an image, or pod/NAME");
    Repeated(sub->add_option("-f,--filename", explain_.files, "the Pods in this file (- for stdin; may be repeated)")->type_name("FILE"));
    Namespace_(sub, explain_.ns);
    sub->add_option("--admission", explain_.admission, "with -f: what admission would change: AlwaysPullImages, digest")->delimiter(',')->allow_extra_args(false)->type_name("NAMES");
    sub->add_flag("--last", explain_.last, "the last pull of this image, from the journal");
    Words_(sub->add_option("--policy", explain_.policy, "as if this were its imagePullPolicy"), {"IfNotPresent", "Always", "Never"});
    Auth_(sub, explain_.auth);
    Output_(sub, {"table", "json", "jsonl"});

    sub = Command("probe", "the way to a registry: names, TCP, TLS, proxy, answer", Arguments::kWords, [this](Session& s) { return Probe(s, std::move(explain_)); });
    sub->add_option("HOST", explain_.words, "HOST[:PORT], or HOST[:PORT]/REPOSITORY[:TAG]");
    Auth_(sub, explain_.auth);
    Output_(sub, {"table", "json", "jsonl"});

    sub = Command("creds", "creds match IMAGE, creds test [SECRET] IMAGE, creds lint [FILE]: which credentials, do they work, what is wrong with them", Arguments::kWords,
                  [this](Session& s) { return Creds(s, std::move(explain_)); });
    sub->add_option("WORDS", explain_.words, "match IMAGE, test [SECRET] IMAGE, lint [FILE]");
    sub->add_option("--config", explain_.config, "match, lint: a docker config file (else REGISTRY_AUTH_FILE, DOCKER_CONFIG, ~/.docker/config.json)")->type_name("FILE");
    Words_(sub->add_option("--profile", explain_.profile, "match, lint: how patterns are read"), {"Documented", "Kubelet"});
    Namespace_(sub, explain_.ns);
    sub->add_option("--username", explain_.username, "test: this user; the password from a prompt or stdin")->type_name("USER");
    sub->add_flag("--password-stdin", explain_.auth.password_stdin, "test: the password is all of stdin");
    sub->add_option("--authfile", explain_.auth.authfile, "test: the entries of this docker config file; match, lint: as --config")->type_name("FILE");
    Output_(sub, {"table", "json", "jsonl"});
    words_[sub] = {"match", "test", "lint"};

    sub = Command("lint", "images, policies and pull secrets in files, before they are applied; no daemon needed", Arguments::kNone,
                  [this](Session& s) { return Lint(s, explain_); });
    Repeated(sub->add_option("-f,--filename", explain_.files, "a file, a folder or - (may be repeated)")->type_name("FILE"));
    Words_(sub->add_option("--profile", explain_.profile, "how patterns and defaults are read"), {"Documented", "Kubelet"});
    Namespace_(sub, explain_.ns);
    Output_(sub, {"table", "json", "jsonl"});

    sub = Command("admit", "objects as they would be stored, with a reason for each change; a KRM function; no daemon needed", Arguments::kNone,
                  [this](Session& s) { return Admit(s, std::move(admit_)); });
    Repeated(sub->add_option("-f,--filename", admit_.files, "a file, a folder or - (may be repeated; else stdin)")->type_name("FILE"));
    Words_(sub->add_option("--profile", admit_.profile, "how policies default and patterns are read"), {"Documented", "Kubelet"});
    sub->add_flag("--always-pull", admit_.always_pull, "as with the plug-in AlwaysPullImages");
    sub->add_flag("--pin", admit_.pin, "tags become digests: asks the registries");
    Words_(sub->add_option("--as", admit_.as, "what is done with the objects"), {"create", "update"});
    sub->add_option("--old", admit_.old, "with --as update: the objects as they are stored")->type_name("FILE");
    Words_(sub->add_option("--defaults", admit_.defaults, "what is filled in (default: All)"), {"All", "Policies", "None"});
    Namespace_(sub, admit_.ns);
    Auth_(sub, admit_.auth);
    Output_(sub, {"yaml", "json", "jsonl"});

    // kubectl's verbs for the objects of this node.
    sub = Command("apply", "create or change objects from files", Arguments::kNone, [this](Session& s) { return ApplyObjects(s, objects_); });
    Files_(sub);
    Namespace_(sub, objects_.ns);
    Output_(sub, {"table", "json", "yaml", "name"});

    sub = Command("get", "list objects: pods, secrets, serviceaccounts, configmaps, namespaces, events", Arguments::kWords,
                  [this](Session& s) { return GetObjects(s, objects_); });
    sub->add_option("TYPE", objects_.words, "TYPE, TYPE NAME … or TYPE/NAME …");
    Namespace_(sub, objects_.ns);
    sub->add_flag("-A,--all-namespaces", objects_.all_namespaces, "objects of all namespaces");
    sub->add_flag("-w,--watch", objects_.watch, "go on with every change");
    Output_(sub, {"table", "wide", "json", "yaml", "name"});
    words_[sub] = {"pods", "secrets", "serviceaccounts", "configmaps", "namespaces", "events"};

    sub = Command("describe", "an object in full, a Pod with its Events", Arguments::kWords, [this](Session& s) { return DescribeObjects(s, objects_); });
    sub->add_option("TYPE", objects_.words, "TYPE, TYPE NAME … or TYPE/NAME …");
    Namespace_(sub, objects_.ns);
    words_[sub] = {"pod", "secret"};

    sub = Command("delete", "delete objects, and wait until they have gone", Arguments::kWords, [this](Session& s) { return DeleteObjects(s, objects_); });
    sub->add_option("TYPE", objects_.words, "TYPE NAME … or TYPE/NAME …");
    Files_(sub);
    Namespace_(sub, objects_.ns);
    sub->add_option("--grace-period", objects_.grace, "seconds a Pod has to end itself (-1: its own)")->type_name("SECONDS");
    sub->add_flag("--now", objects_.now, "one second of grace");
    sub->add_flag("--force", objects_.force, "no grace at all");
    sub->add_flag("--no-wait", objects_.no_wait, "do not wait for Pods to end");
    Output_(sub, {"table", "name"});
    words_[sub] = {"pod", "secret", "serviceaccount", "configmap", "namespace"};

    sub = Command("events", "what happened, oldest first", Arguments::kNone, [this](Session& s) { return Events(s, objects_); });
    Namespace_(sub, objects_.ns);
    sub->add_flag("-A,--all-namespaces", objects_.all_namespaces, "of all namespaces");
    sub->add_option("--for", objects_.selected, "only about this object")->type_name("TYPE/NAME");
    sub->add_flag("-w,--watch", objects_.watch, "go on with what happens");
    Output_(sub, {"table", "json", "yaml"});

    sub = Command("logs", "what a container wrote", Arguments::kWords, [this](Session& s) { return Logs(s, logs_); });
    sub->add_option("POD", logs_.words, "the Pod, and its container if there are several");
    sub->add_option("-c,--container", logs_.container, "which container")->type_name("NAME");
    Namespace_(sub, logs_.ns);
    sub->add_flag("-f,--follow", logs_.follow, "go on until the container ends");
    sub->add_flag("-p,--previous", logs_.previous, "of the run before this one");
    sub->add_flag("--timestamps", logs_.timestamps, "each line with its time");
    sub->add_option("--tail", logs_.tail, "only the last so many lines")->type_name("LINES");

    sub = Command("secret", "secret create docker-registry NAME: a pull secret, as kubectl writes it", Arguments::kWords,
                  [this](Session& s) { return CreateSecret(s, std::move(secret_)); });
    sub->add_option("WORDS", secret_.words, "create docker-registry NAME");
    Namespace_(sub, secret_.ns);
    sub->add_option("--docker-server", secret_.server, "the registry (default: https://index.docker.io/v1/)")->type_name("HOST");
    sub->add_option("--docker-username", secret_.username, "user")->type_name("USER");
    sub->add_option("--docker-password", secret_.password, "password; seen by all: better --docker-password-stdin")->type_name("PASSWORD");
    sub->add_flag("--docker-password-stdin", secret_.password_stdin, "the password is all of stdin");
    sub->add_option("--docker-email", secret_.email, "email")->type_name("EMAIL");
    sub->add_option("--from-file", secret_.from_file, "[KEY=]FILE, a docker config file instead of all that")->type_name("FILE");
    sub->add_flag("--append-hash", secret_.append_hash, "a hash of the contents after the name");
    sub->add_flag("--dry-run", secret_.dry_run, "print it only; no daemon needed");
    Output_(sub, {"table", "json", "yaml", "name"});
    words_[sub] = {"create", "docker-registry"};

    sub = Command("name", "how names are read: JSON lines; no daemon needed", Arguments::kNone, [this](Session& s) { return Name(s, list_); });
    sub->add_option("NAME", list_, "references (else the lines of stdin)");

    sub = Command("version", "versions of berth and berthd", Arguments::kNone, [](Session& s) { return Version(s); });
    Output_(sub, {"table", "json", "jsonl"});

    const Words shells{"bash", "zsh", "fish"};
    sub = Command("completion", "completion code for a shell", Arguments::kWords, [this](Session& s) {
      s.Out(Completion(image_, Describe()));
      return 0;
    });
    Words_(sub->add_option("SHELL", image_, "bash, zsh or fish"), shells);
    words_[sub] = shells;
  }

  // Runs the command, or says what is wrong with the arguments.
  int Run(World& world, Words arguments) {
    const bool wants_json = WantsJson(arguments);
    if (!arguments.empty() && arguments[0] == "help") {
      arguments.erase(arguments.begin());
      arguments.insert(arguments.end(), "--help");
    }
    try {
      Words reversed(arguments.rbegin(), arguments.rend());  // CLI11 takes them from the back
      app_.parse(std::move(reversed));
    } catch (const CLI::CallForHelp&) {
      world.out.Write(app_.help());
      return 0;
    } catch (const CLI::CallForVersion&) {
      world.out.Write(std::string("berth ") + BERTH_VERSION + "\n");
      return 0;
    } catch (const CLI::ParseError& error) {
      return Usage(world, wants_json, error.what());
    }
    const auto chosen = app_.get_subcommands();
    Words extra = app_.remaining(true);
    std::erase(extra, "--");  // CLI11 hands the mark back
    if (chosen.empty() && extra.empty()) {
      world.err.Write(app_.help());
      return 2;
    }
    if (chosen.empty() && !extra[0].starts_with('-')) {
      Words names;
      for (const auto& [sub, run] : commands_) names.push_back(sub->get_name());
      return Usage(world, wants_json, "there is no command " + Quoted(extra[0]), Nearest(extra[0], names));
    }
    if (!extra.empty()) {
      // Only the first: what follows an unknown flag may be a secret.
      const std::string word = extra[0].substr(0, extra[0].find('='));
      Words flags;
      for (const CLI::App* app : {chosen.empty() ? nullptr : static_cast<const CLI::App*>(chosen[0]), static_cast<const CLI::App*>(&app_)})
        if (app != nullptr)
          for (const CLI::Option* option : app->get_options())
            for (const auto& name : option->get_lnames()) flags.push_back("--" + name);
      return word.starts_with('-') ? Usage(world, wants_json, "there is no flag " + Quoted(word), Nearest(word, flags))
                                   : Usage(world, wants_json, chosen[0]->get_name() + " takes no argument " + Quoted(word));
    }
    const CLI::App* sub = chosen[0];
    if (const auto missing = Missing(*sub); !missing.empty()) return Usage(world, wants_json, sub->get_name() + " needs " + missing);
    if (const auto timeout = ParseDuration(globals_.timeout); !globals_.timeout.empty() && (!timeout || timeout->count() == 0))
      return Usage(world, wants_json, "--timeout: a time like 90s, 15m or 2h is wanted");
    // Before the command it means the command's.
    if (const CLI::Option* own = sub->get_option_no_throw("--output"); !early_output_.empty() && (own == nullptr || own->count() == 0)) {
      if (own == nullptr) return Usage(world, wants_json, sub->get_name() + " has no flag \"-o\"");
      if (const auto wrong = WrongForm(values_.at(own), early_output_); !wrong.empty()) return Usage(world, wants_json, "-o: " + wrong);
      output_ = early_output_;
    }
    // Before anything is asked or done: a template that cannot be read must not cost a pull, or an image.
    globals_.json_talk = sub->get_name() == "pull" && pull_.progress == "json";
    if (const auto read = ReadForm(); !read) return Session(world, globals_).Fail(FromError(read.error()));
    world.verbosity = std::stoi(verbosity_);
    world.Trace(1, "berth " BERTH_VERSION " " + sub->get_name());
    Session session(world, globals_);
    return session.Ended(sub->get_name(), std::ranges::find(commands_, sub, &Row::first)->second(session));
  }

 private:
  using Row = std::pair<CLI::App*, std::function<int(Session&)>>;

  CLI::App* Command(const std::string& name, const std::string& help, Arguments arguments, std::function<int(Session&)> run,
                    const Words& aliases = {}) {
    CLI::App* sub = app_.add_subcommand(name, help);
    sub->allow_extras();
    for (const auto& alias : aliases) sub->alias(alias);
    sub->footer("Flags for every command: berth --help");
    commands_.emplace_back(sub, std::move(run));
    arguments_[sub] = arguments;
    return sub;
  }
  void Words_(CLI::Option* option, const Words& words) {
    option->check(CLI::Validator([words](std::string& text) {
      return std::ranges::find(words, text) != words.end() ? std::string() : "one of " + Joined(words, ", ") + " is wanted";
    }, ""));
    option->type_name(Joined(words, "|"));
    values_[option] = words;
  }
  // Whatever has one JSON document has templates over it.
  void Output_(CLI::App* sub, Words words) {
    if (std::ranges::find(words, "json") != words.end()) words.insert(words.end(), {std::string(kGoTemplate), std::string(kJsonPath)});
    CLI::Option* option = sub->add_option("-o,--output", output_, "form of the output");
    option->check(CLI::Validator([words](std::string& text) { return WrongForm(words, text); }, ""));
    option->type_name(Joined(words, "|"));
    values_[option] = words;
  }
  // "" when it is one of these, or begins with one that takes a template. "-o=json" comes with its sign.
  static std::string WrongForm(const Words& words, std::string_view form) {
    form.remove_prefix(form.starts_with('=') ? 1 : 0);
    const auto fits = [&](const std::string& word) { return word.ends_with('=') ? form.starts_with(word) : form == word; };
    const bool known = std::ranges::any_of(words, fits);
    return known ? "" : "one of " + Joined(words, ", ") + " is wanted";
  }
  Result<> ReadForm() {
    if (output_.starts_with('=')) output_.erase(0, 1);
    const std::string_view text = output_;
    if (text.starts_with(kGoTemplate)) {
      ASSIGN_OR_RETURN(globals_.form, GoTemplate::Parse(text.substr(kGoTemplate.size())));
      globals_.output = Output::kTemplate;
    } else if (text.starts_with(kJsonPath)) {
      ASSIGN_OR_RETURN(globals_.form, JsonPath::Parse(text.substr(kJsonPath.size())));
      globals_.output = Output::kTemplate;
    } else {
      const Words formats{"table", "wide", "json", "jsonl", "name", "yaml"};
      globals_.output = static_cast<Output>(std::ranges::find(formats, output_) - formats.begin());
    }
    return {};
  }
  static void Auth_(CLI::App* sub, AuthOptions& auth) {
    // An empty one is a script's variable that was never set: to ask without credentials is not what was meant.
    const CLI::Validator something([](std::string& text) { return text.empty() ? "it is empty: a value is wanted" : std::string(); }, "");
    sub->add_option("--creds", auth.creds, "USER, and the password from a prompt or stdin; USER:PASSWORD is seen by all")->type_name("USER")->check(something);
    sub->add_flag("--password-stdin", auth.password_stdin, "the password for --creds is all of stdin");
    sub->add_option("--auth", auth.auth, "base64 of USER:PASSWORD, as crictl takes it")->type_name("TEXT")->check(something);
    sub->add_option("--authfile", auth.authfile, "a docker config file (else REGISTRY_AUTH_FILE, DOCKER_CONFIG, ~/.docker/config.json)")->type_name("FILE");
  }
  void Files_(CLI::App* sub) {
    Repeated(sub->add_option("-f,--filename", objects_.files, "a file, a folder or - (may be repeated)")->type_name("FILE"));
  }
  static void Namespace_(CLI::App* sub, std::string& ns) { sub->add_option("-n,--namespace", ns, "namespace (default: default)")->type_name("NAME"); }
  static void Repeated(CLI::Option* option) { option->allow_extra_args(false); }  // else it would swallow what follows

  std::string Missing(const CLI::App& sub) const {
    const std::string& name = sub.get_name();
    if (name == "pull" && pull_.images.empty()) return "at least one image";
    if (name == "inspect" && inspect_.images.empty()) return "at least one image";
    if (name == "rm" && remove_.images.empty()) return "at least one image";
    if ((name == "pin" || name == "unpin") && pin_.images.empty()) return "at least one image";
    if (name == "unmount" && list_.empty()) return "at least one directory";
    if (name == "explain" && explain_.words.empty() && explain_.files.empty()) return "an image, pod/NAME or -f FILE";
    if (name == "probe" && explain_.words.empty()) return "a registry: HOST[:PORT]";
    if (name == "creds" && explain_.words.empty()) return "match, test or lint";
    if (name == "lint" && explain_.files.empty()) return "-f FILE";
    if (name == "apply" && objects_.files.empty()) return "-f FILE";
    if ((name == "get" || name == "describe") && objects_.words.empty()) return "a type: pods, secrets, …";
    if (name == "delete" && objects_.words.empty() && objects_.files.empty()) return "-f FILE, or a type and a name";
    if (name == "logs" && logs_.words.empty()) return "a Pod";
    if (name == "completion" && image_.empty()) return "a shell: bash, zsh or fish";
    return "";
  }

  static int Usage(World& world, bool wants_json, std::string_view message, const std::string& nearest = "") {
    const Failure failure = FromError(Error(Reason::kUsage, Escape(message))
        .Next(nearest.empty() ? "berth --help, berth COMMAND --help" : "did you mean " + nearest + "?"));
    Globals globals;
    globals.output = wants_json ? Output::kJson : Output::kTable;
    return Session(world, globals).Fail(failure);
  }

  std::vector<FlagSpec> Flags(const CLI::App& app) const {
    std::vector<FlagSpec> flags;
    for (const CLI::Option* option : app.get_options()) {
      if (option->get_lnames().empty() || option->get_group().empty()) continue;
      const auto words = values_.find(option);
      flags.push_back({.name = "--" + option->get_lnames()[0],
                       .short_name = option->get_snames().empty() ? "" : "-" + option->get_snames()[0],
                       .help = option->get_description(),
                       .takes_value = option->get_items_expected_max() > 0,
                       .values = words == values_.end() ? Words() : words->second});
    }
    return flags;
  }
  std::vector<CommandSpec> Describe() const {
    std::vector<CommandSpec> specs;
    for (const auto& [sub, run] : commands_) {
      CommandSpec spec{.name = sub->get_name(), .help = sub->get_description(), .aliases = sub->get_aliases(), .flags = Flags(*sub),
                       .arguments = arguments_.at(sub)};
      for (auto& flag : Flags(app_))
        if (flag.name != "--help" && flag.name != "--version" && flag.name != "--output") spec.flags.push_back(std::move(flag));
      if (const auto words = words_.find(sub); words != words_.end()) spec.words = words->second;
      specs.push_back(std::move(spec));
    }
    return specs;
  }

  CLI::App app_{"The image subsystem of a Kubernetes node: pull, verify, mount and account for images."};
  std::vector<Row> commands_;
  std::map<const CLI::App*, Arguments> arguments_;
  std::map<const CLI::App*, Words> words_;           // of arguments
  std::map<const CLI::Option*, Words> values_;       // of flags

  Globals globals_;
  static constexpr std::string_view kGoTemplate = "go-template=", kJsonPath = "jsonpath=";
  std::string output_ = "table", early_output_, ignored_, image_, age_ = "0s", depth_, verbosity_ = "0";
  PullOptions pull_;
  ImagesOptions images_;
  InspectOptions inspect_;
  RemoveOptions remove_;
  PinOptions pin_;
  CollectOptions collect_;
  MountOptions mount_;
  AdmitOptions admit_;
  ExplainOptions explain_;
  ObjectOptions objects_;
  LogsOptions logs_;
  SecretOptions secret_;
  Words list_;
  bool verbose_ = false, repair_ = false;
};

}  // namespace

int Run(World& world, std::vector<std::string> arguments) {
  const bool json = WantsJson(arguments);
  const int status = Grammar().Run(world, std::move(arguments));
  if (const auto& broken = world.out.broken()) {
    if (world.out.closed_pipe()) return 141;  // the reader has seen enough: as if SIGPIPE had ended us
    world.err.Write(json ? JsonLine(FromError(*broken)) : Lines(FromError(*broken), Colour::kNo));
    return status == 0 ? broken->info().exit_status : status;
  }
  return status;
}

void HideSecrets(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    for (const std::string_view flag : {"--creds", "--auth", "--docker-password"}) {
      const std::string_view word = argv[i];
      char* value = nullptr;
      if (word == flag && i + 1 < argc) value = argv[i + 1];
      else if (word.starts_with(flag) && word.substr(flag.size()).starts_with('=')) value = argv[i] + flag.size() + 1;
      if (value == nullptr) continue;
      if (flag == "--creds") value += std::min(std::string_view(value).find(':'), std::string_view(value).size());
      std::fill(value, value + std::string_view(value).size(), '\0');
    }
  }
}

}  // namespace berth::cli
