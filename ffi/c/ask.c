/* SPDX-License-Identifier: MIT */
/* No system call: fuzz-ask.c runs it on anything. */
#include "ask.h"
#include "sys.h"

#define DEFAULT_ROOT "/run/bb-oci"
#define ID_MAX 1024
#define SIGNAL_LAST 64

static int is_one_of(const char *word, const char *const *words, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (same_text(word, words[i]))
			return 1;
	return 0;
}

/* The options in front of the command. Returns the command's place, or null. */
static char *const *skip_globals(char *const *word, struct asked *asked)
{
	static const char *const valued[] = {"--root", "--log", "--log-format", "--criu", "--rootless"};
	static const char *const plain[] = {"--systemd-cgroup", "--debug"};
	static const char *const formats[] = {"", "text", "json"};

	for (; *word && **word == '-'; word++) {
		if (is_one_of(*word, plain, sizeof(plain) / sizeof(*plain)))
			continue;
		if (!is_one_of(*word, valued, sizeof(valued) / sizeof(*valued)) || !word[1])
			return 0;
		const char *flag = *word++;

		if (same_text(flag, "--root"))
			asked->root = *word;
		else if (same_text(flag, "--log"))
			asked->log = *word;
		else if (same_text(flag, "--log-format") && !is_one_of(*word, formats, sizeof(formats) / sizeof(*formats)))
			return 0;
	}
	return *word ? word : 0;
}

/* As checkId has it; an option is none either. */
static int is_id(const char *id)
{
	size_t n = strlen(id);

	if (n == 0 || n > ID_MAX || *id == '-' || same_text(id, ".") || same_text(id, ".."))
		return 0;
	for (; *id; id++)
		if (!((*id >= 'a' && *id <= 'z') || (*id >= 'A' && *id <= 'Z') || (*id >= '0' && *id <= '9') || *id == '_' ||
		      *id == '+' || *id == '.' || *id == '-'))
			return 0;
	return 1;
}

/* A root with "." or ".." in it is Bun's, which reads them as text and the kernel does not. */
static int join(const struct asked *asked, char path[ASK_PATH_BYTES])
{
	size_t root = strlen(asked->root), id = strlen(asked->id);

	if (*asked->root != '/' || root + 1 + id + ASK_FILE_BYTES > ASK_PATH_BYTES)
		return 0;
	for (const char *at = asked->root; *at; at++)
		if (at[0] == '/' && at[1] == '.')
			return 0;
	memcpy(path, asked->root, root);
	path[root] = '/';
	memcpy(path + root + 1, asked->id, id + 1);
	return 1;
}

/* Numbers are what engines send; names are Bun's. Returns -1 for those. */
static int signal_number(const char *text)
{
	int number = 0;

	for (const char *at = text; *at; at++) {
		if (*at < '0' || *at > '9' || at - text == 2)
			return -1;
		number = number * 10 + (*at - '0');
	}
	return *text && number <= SIGNAL_LAST ? number : -1;
}

int ask(char *const *argv, struct asked *asked, char path[ASK_PATH_BYTES])
{
	static const char *const commands[] = {"start", "state", "kill", "delete"};
	char *const *word;
	unsigned i = 0;

	*asked = (struct asked){.root = DEFAULT_ROOT};
	word = *argv ? skip_globals(argv + 1, asked) : 0;
	if (!word)
		return 0;
	asked->words = (size_t)(word - argv);
	while (i < sizeof(commands) / sizeof(*commands) && !same_text(*word, commands[i]))
		i++;
	if (i == sizeof(commands) / sizeof(*commands))
		return 0;
	asked->command = (enum ask_command)(ASK_START + i);
	word++;
	if (asked->command == ASK_DELETE && *word && (same_text(*word, "--force") || same_text(*word, "-f"))) {
		asked->is_forced = 1;
		word++;
	}
	if (!*word || !is_id(*word))
		return 0;
	asked->id = *word++;
	if (asked->command == ASK_KILL) {
		asked->signal = *word ? signal_number(*word++) : -1;
		if (asked->signal < 0)
			return 0;
	}
	return !*word && join(asked, path);
}
