/* Runs one fuzz target over stored inputs, under any compiler and without libFuzzer:
 *
 *     replay_NAME corpus/NAME regression/NAME some-crash-file
 *
 * A directory gives each of its files (in the order of their names, dot files left out), a file gives itself, and what does not exist
 * gives nothing, because a target without regressions has no such folder. A few inputs are built in. Each input lies in a block of
 * its own size, so that AddressSanitizer sees the first byte read past its end. Its name goes to stderr before it runs: the last
 * line before a crash names the culprit. */
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ZEROS = 64 * 1024 };

static void run(const char *name, const uint8_t *data, size_t size)
{
	fprintf(stderr, "%s (%zu bytes)\n", name, size);
	(void)LLVMFuzzerTestOneInput(data, size);
}

static int run_zeros(const char *name, size_t size)
{
	uint8_t *data = calloc(1, size ? size : 1);
	if (!data)
		return -1;
	/* The empty input is given one past the end, where a read of even one byte is caught. */
	run(name, size ? data : data + 1, size);
	free(data);
	return 1;
}

/* 1, or -1 when the file cannot be read. */
static int run_file(const char *path, size_t size)
{
	int result = -1;
	uint8_t *data = malloc(size ? size : 1);
	FILE *f = fopen(path, "rb");
	if (data && f && fread(data, 1, size, f) == size) {
		run(path, size ? data : data + 1, size);
		result = 1;
	} else {
		fprintf(stderr, "%s: cannot read: %s\n", path, strerror(errno));
	}
	if (f)
		(void)fclose(f);
	free(data);
	return result;
}

static int visible(const struct dirent *d)
{
	return d->d_name[0] != '.';
}

/* The number of inputs that ran, or -1. */
static int run_path(const char *path)
{
	struct stat st;
	if (stat(path, &st) != 0) {
		if (errno == ENOENT)
			return 0;
		perror(path);
		return -1;
	}
	if (S_ISREG(st.st_mode))
		return run_file(path, (size_t)st.st_size);
	if (!S_ISDIR(st.st_mode))
		return 0;
	struct dirent **list;
	int n = scandir(path, &list, visible, alphasort), total = 0;
	if (n < 0) {
		perror(path);
		return -1;
	}
	for (int i = 0; i < n; i++) {
		char *child;
		int count = -1;
		if (asprintf(&child, "%s/%s", path, list[i]->d_name) >= 0) {
			count = run_path(child);
			free(child);
		}
		total = count < 0 || total < 0 ? -1 : total + count;
		free(list[i]);
	}
	free(list);
	return total;
}

int main(int argc, char **argv)
{
	int total = 0, failed = 0;
	int built_in[] = { run_zeros("built-in: nothing", 0), run_zeros("built-in: one zero", 1),
		run_zeros("built-in: 64 KiB of zeros", ZEROS) };
	for (size_t i = 0; i < sizeof built_in / sizeof built_in[0]; i++) {
		failed |= built_in[i] < 0;
		total += built_in[i];
	}
	for (int i = 1; i < argc; i++) {
		int n = run_path(argv[i]);
		failed |= n < 0;
		total += n < 0 ? 0 : n;
	}
	if (failed)
		return 1;
	printf("replayed %d inputs\n", total);
	return 0;
}
