// Helpers for Firebox plugins in C, and the system calls of the C library. You need not change this file.
#include "firebox.h"

#include <stdlib.h>
#include <string.h>

void firebox_log(uint8_t level, const char *line) {
  plugin_string_t message;
  plugin_string_set(&message, line);
  firebox_plugin_log_write(level, &message);
}

// The generated code names an object file with the component's type. `firebox plugins build` adds the type itself.
void __component_type_object_force_link_plugin(void) {}

// ---- JSON -------------------------------------------------------------------------------------------------------

typedef struct {
  const uint8_t *at, *end;
} reader_t;

static void blanks(reader_t *in) {
  while (in->at < in->end && strchr(" \t\r\n", *in->at)) in->at++;
}

static int hex4(reader_t *in) {
  int value = 0;
  for (int i = 0; i < 4; i++, in->at++) {
    if (in->at >= in->end) return -1;
    int c = *in->at | 32;
    if (c >= '0' && c <= '9') value = value * 16 + c - '0';
    else if (c >= 'a' && c <= 'f') value = value * 16 + c - 'a' + 10;
    else return -1;
  }
  return value;
}

static char *put_utf8(char *out, unsigned c) {
  if (c < 0x80) {
    *out++ = (char)c;
  } else if (c < 0x800) {
    *out++ = (char)(0xc0 | c >> 6);
    *out++ = (char)(0x80 | (c & 63));
  } else if (c < 0x10000) {
    *out++ = (char)(0xe0 | c >> 12);
    *out++ = (char)(0x80 | (c >> 6 & 63));
    *out++ = (char)(0x80 | (c & 63));
  } else {
    *out++ = (char)(0xf0 | c >> 18);
    *out++ = (char)(0x80 | (c >> 12 & 63));
    *out++ = (char)(0x80 | (c >> 6 & 63));
    *out++ = (char)(0x80 | (c & 63));
  }
  return out;
}

// Reads an escape after its backslash. The host passes valid JSON only, so an unknown escape is the character itself.
static char *escape(reader_t *in, char *out) {
  int c = *in->at++;
  const char *from = "nrtbf", *to = "\n\r\t\b\f", *found = strchr(from, c);
  if (c != 'u') return *out = found ? to[found - from] : (char)c, out + 1;
  int high = hex4(in);
  if (high < 0) return out;
  if (high >= 0xd800 && high < 0xdc00 && in->at + 6 <= in->end && in->at[0] == '\\' && in->at[1] == 'u') {
    in->at += 2;
    int low = hex4(in);
    if (low >= 0xdc00 && low < 0xe000) return put_utf8(out, 0x10000u + ((unsigned)(high & 0x3ff) << 10) + (unsigned)(low & 0x3ff));
  }
  return put_utf8(out, high >= 0xd800 && high < 0xe000 ? 0xfffd : (unsigned)high);
}

// Reads a string after its first quote. An escape is never shorter than its character, so the text fits.
static char *string(reader_t *in) {
  char *text = malloc((size_t)(in->end - in->at) + 1), *out = text;
  if (!text) abort();
  while (in->at < in->end && *in->at != '"') {
    if (*in->at == '\\' && in->at + 1 < in->end) {
      in->at++;
      out = escape(in, out);
    } else {
      *out++ = (char)*in->at++;
    }
  }
  if (in->at < in->end) in->at++;
  *out = 0;
  return text;
}

// Skips a value: a string, or everything up to the comma or bracket that ends it.
static void skip(reader_t *in) {
  int depth = 0;
  for (; in->at < in->end; in->at++) {
    int c = *in->at;
    if (c == '"') {
      in->at++;
      free(string(in));
      in->at--;
    } else if (c == '{' || c == '[') {
      depth++;
    } else if (c == '}' || c == ']') {
      if (depth-- == 0) return;
    } else if (c == ',' && depth == 0) {
      return;
    }
  }
}

char *firebox_json_string(const plugin_string_t *object, const char *key) {
  reader_t in = {object->ptr, object->ptr + object->len};
  blanks(&in);
  if (in.at == in.end || *in.at++ != '{') return NULL;
  while (blanks(&in), in.at < in.end && *in.at == '"') {
    in.at++;
    char *name = string(&in);
    int wanted = strcmp(name, key) == 0;
    free(name);
    blanks(&in);
    if (in.at == in.end || *in.at++ != ':') return NULL;
    blanks(&in);
    if (wanted) return in.at < in.end && *in.at == '"' ? (in.at++, string(&in)) : NULL;
    skip(&in);
    if (in.at < in.end && *in.at == ',') in.at++;
  }
  return NULL;
}

// ---- System calls -----------------------------------------------------------------------------------------------
//
// The C library reaches the system through functions of `wasi_snapshot_preview1`. A plugin has no files, clock, network
// or environment. These functions stand in for the system: printf writes to the host's log, and the rest fails.

enum { NO_SYSTEM = 52, NO_SEEK = 70 };

#define SYSTEM(name) __imported_wasi_snapshot_preview1_##name

int32_t SYSTEM(fd_write)(int32_t fd, int32_t buffers, int32_t count, int32_t written) {
  const struct { const char *text; size_t length; } *list = (const void *)(uintptr_t)buffers;
  size_t total = 0;
  for (int32_t i = 0; i < count; i++) total += list[i].length;
  char *line = malloc(total + 1), *out = line;
  if (!line) return NO_SYSTEM;
  for (int32_t i = 0; i < count; i++) out = (char *)memcpy(out, list[i].text, list[i].length) + list[i].length;
  while (out > line && out[-1] == '\n') out--;
  *out = 0;
  if (out > line) firebox_log(fd == 2 ? FIREBOX_PLUGIN_LOG_LEVEL_ERROR : FIREBOX_PLUGIN_LOG_LEVEL_INFO, line);
  free(line);
  *(size_t *)(uintptr_t)written = total;
  return 0;
}

// A terminal: the C library then writes line by line.
int32_t SYSTEM(fd_fdstat_get)(int32_t fd, int32_t status) {
  memset((void *)(uintptr_t)status, 0, 24);
  *(uint8_t *)(uintptr_t)status = 2;
  return fd <= 2 ? 0 : NO_SYSTEM;
}

int32_t SYSTEM(fd_close)(int32_t fd) { return (void)fd, 0; }
int32_t SYSTEM(fd_seek)(int32_t fd, int64_t to, int32_t from, int32_t at) { return (void)fd, (void)to, (void)from, (void)at, NO_SEEK; }
int32_t SYSTEM(fd_read)(int32_t fd, int32_t buffers, int32_t count, int32_t read) { return (void)fd, (void)buffers, (void)count, (void)read, NO_SYSTEM; }
int32_t SYSTEM(clock_time_get)(int32_t clock, int64_t precision, int32_t time) { return (void)clock, (void)precision, (void)time, NO_SYSTEM; }
int32_t SYSTEM(random_get)(int32_t buffer, int32_t length) { return (void)buffer, (void)length, NO_SYSTEM; }
int32_t SYSTEM(environ_get)(int32_t list, int32_t text) { return (void)list, (void)text, 0; }
int32_t SYSTEM(environ_sizes_get)(int32_t count, int32_t size) {
  *(size_t *)(uintptr_t)count = *(size_t *)(uintptr_t)size = 0;
  return 0;
}

void SYSTEM(proc_exit)(int32_t status) {
  firebox_log(FIREBOX_PLUGIN_LOG_LEVEL_ERROR, status ? "exit was called with a failure" : "exit was called");
  __builtin_trap();
}
