/* SPDX-License-Identifier: MIT */
/*
 * The front of dist/bb-oci: a `create`, `run` or `exec` like an earlier one; made.h has the commands that come after.
 *
 * Engines give each container a directory and a config.json of its own, which
 * differ from the last one's by IDs. What is compared is therefore one text: the
 * words, the current directory, and the files that the command reads, with holes
 * where IDs stand (holes.h). packages/oci/src/remember.ts puts the same text together.
 */
#include "carry.h"
#include "facts.h"
#include "made.h"
#include "sys.h"

#include <linux/fcntl.h>
#include <linux/mman.h>
#include <linux/stat.h>

#define PATH_BYTES 4096
#define REQUEST_MAX (1 << 20)
#define LINES "/run/bb-oci.lines"
#define DEFAULT_ROOT "/run/bb-oci"

/* A text that grows; `bytes` beyond REQUEST_MAX says that it did not fit. */
struct text {
	char *at;
	size_t bytes;
};

static void add(struct text *text, const char *what, size_t bytes)
{
	if (text->bytes + bytes <= REQUEST_MAX)
		memcpy(text->at + text->bytes, what, bytes);
	text->bytes += bytes;
}

static void add_word(struct text *text, const char *word) { add(text, word, strlen(word) + 1); }

/* A whole file and a zero byte. Returns whether it could be read. What a pipe holds is left to Bun: it is there once. */
static int add_file(struct text *text, const char *path, char *buffer)
{
	struct statx node = {0};
	long n = 0;
	int fd;

	if (SYS_5(__NR_statx, AT_FDCWD, path, 0, STATX_TYPE, &node) != 0 || (node.stx_mode & S_IFMT) != S_IFREG)
		return 0;
	fd = open_file(path, 0);
	if (fd < 0)
		return 0;
	while ((n = SYS_3(__NR_read, fd, buffer, TEXT_MAX)) > 0)
		add(text, buffer, (size_t)n);
	sys_close(fd);
	add(text, "", 1);
	return n == 0 && text->bytes <= REQUEST_MAX;
}

/* Appends to a path; what does not fit leaves an empty one, which nothing is found by. */
static void append(char path[PATH_BYTES], const char *what)
{
	size_t have = strlen(path), more = strlen(what);

	if (have + more >= PATH_BYTES)
		path[0] = 0;
	else
		memcpy(path + have, what, more + 1);
}

/* Flags that take the next word, in front of the command and behind it. */
static int takes_value(const char *word)
{
	static const char *const flags[] = {
		"--root",	"--log-format",	  "--criu",	  "--rootless",	 "--bundle",  "-b",
		"--pid-file",	"--console-socket", "--pidfd-socket", "--process", "-p",	 "--cwd",    "--env",
		"-e",		"--user",	  "-u",		  "--additional-gids", "-g",	 "--apparmor", "--process-label",
		"--cap",	"-c",		  "--cgroup",	  "--preserve-fds",
	};

	for (size_t i = 0; i < sizeof(flags) / sizeof(*flags); i++)
		if (same_text(word, flags[i]))
			return 1;
	return 0;
}

/* The value of `--name value` or `--name=value` at *word, which moves on to its last word; null for another flag. */
static const char *value_of(char ***word, const char *name, const char *brief)
{
	const char *flag = **word;
	size_t n = strlen(name);

	if ((same_text(flag, name) || same_text(flag, brief)) && (*word)[1])
		return *++*word;
	return strlen(flag) > n && memcmp(flag, name, n) == 0 && flag[n] == '=' ? flag + n + 1 : 0;
}

/* What of a command line says which files the command reads. */
struct words {
	const char *root, *log, *command, *bundle, *process, *id;
	char **process_word; /* the one that holds the process file's path */
};

/* `--`, `-bundle dir` and `--b=dir`, which Go's way of parsing knows too, say the same in words that nothing here compares. */
static int is_plain(const char *flag)
{
	size_t n = strlen(flag);

	return flag[1] == '-' ? n > 3 && flag[3] != '=' : n == 2;
}

/* Returns whether all of it was understood as arguments.ts does. */
static int parse(char **argv, struct words *words)
{
	for (; *argv; argv++) {
		const char *value;

		if (argv[0][0] == '-' && !is_plain(*argv))
			return 0;
		if (argv[0][0] != '-') {
			if (!words->command) {
				words->command = *argv;
			} else {
				words->id = *argv;
				return 1;
			}
		} else if ((value = value_of(&argv, "--root", "--root"))) {
			words->root = value;
		} else if ((value = value_of(&argv, "--log", "--log"))) {
			words->log = value;
		} else if ((value = value_of(&argv, "--bundle", "-b"))) {
			words->bundle = value;
		} else if ((value = value_of(&argv, "--process", "-p"))) {
			words->process = value;
			words->process_word = argv;
			/* Its stdin, which cannot be read twice. */
			if (same_text(value, "-"))
				return 0;
		} else if (takes_value(*argv) && argv[1]) {
			argv++;
		}
	}
	return 0;
}

/* The words, without the name of the process file, which is another one each time; then the current directory. */
static int add_words(struct text *text, char **argv, const struct words *words)
{
	char directory[PATH_BYTES];

	for (; *argv; argv++)
		add_word(text, argv == words->process_word ? "" : *argv);
	if (SYS_2(__NR_getcwd, directory, sizeof(directory)) < 0)
		return 0;
	add_word(text, directory);
	return 1;
}

static int add_files(struct text *text, const struct words *words, char *buffer)
{
	char path[PATH_BYTES] = "";

	if (!same_text(words->command, "exec")) {
		append(path, words->bundle && *words->bundle ? words->bundle : ".");
		append(path, "/config.json");
		return add_file(text, path, buffer);
	}
	append(path, words->root);
	append(path, "/");
	append(path, words->id);
	size_t directory = strlen(path);
	append(path, "/state.json");
	if (!add_file(text, path, buffer))
		return 0;
	path[directory] = 0;
	append(path, "/config.json");
	return add_file(text, path, buffer) && (!words->process || add_file(text, words->process, buffer));
}

void front_main(long *stack)
{
	char **argv = (char **)(stack + 1) + 1, **environment = (char **)(stack + 1) + stack[0] + 1;
	struct words words = {.root = DEFAULT_ROOT};
	char buffer[TEXT_MAX];
	struct holes holes;
	long at;

	if (stack[0] < 3 || !may_carry_out())
		return;
	serve_made(argv - 1, environment);
	if (!parse(argv, &words) || words.root[0] != '/')
		return;
	if (!same_text(words.command, "create") && !same_text(words.command, "run") && !same_text(words.command, "exec"))
		return;
	if (!log_opens(words.log))
		return;
	at = SYS_6(__NR_mmap, 0, 4 * REQUEST_MAX, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (at < 0 && at > -4096)
		return;
	struct text text = {.at = (char *)at};
	char *skeleton = (char *)at + REQUEST_MAX;
	int is_whole = add_words(&text, argv, &words);
	size_t words_end = text.bytes;

	if (is_whole && add_files(&text, &words, buffer)) {
		const struct holed_text in = {text.at, text.bytes, words_end, words.id};
		long bytes = find_holes(&in, &holes, skeleton);
		const struct request request = {
			.directory = LINES,
			.skeleton = skeleton,
			.skeleton_bytes = (size_t)bytes,
			.holes = &holes,
			.environment = environment,
		};

		if (bytes > 0)
			carry_out(&request);
	}
	SYS_2(__NR_munmap, at, 4 * REQUEST_MAX);
}
