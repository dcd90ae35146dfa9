// Removes the marks of Markdown from answers, for readers that show plain text: headings, emphasis, code, quotes and links.
// The text streams through a state machine. It holds back only what may still turn out to be a mark.
#include "bindings/firebox.h"

#include <stdlib.h>
#include <string.h>

// ---- The state of a message -------------------------------------------------------------------------------------

// Bytes of a link's text or address at most. What is longer is no link.
enum { LINK_MAX = 2048, MARKS_MAX = 8 };

typedef enum { PLAIN, LINK_TEXT, LINK_MIDDLE, LINK_ADDRESS } link_t;

static struct {
  char *text;
  size_t length, room;
} out;

static struct {
  // Whether nothing but blanks and marks came in this line.
  bool line_begins;
  // Whether the lines are code, between ``` and ```.
  bool code_block;
  // Whether the rest of the line is dropped: the language after ```.
  bool drop_line;
  // A run of one character that may be a mark.
  char mark;
  size_t marks;
  // The character of a run that is too long for a mark.
  char long_run;
  // The last byte that was written, 0 at the start.
  char last;
  link_t link;
  size_t text_length, address_length;
  char link_text[LINK_MAX], address[LINK_MAX];
} now = {.line_begins = true};

static void put(const char *bytes, size_t length) {
  if (out.length + length > out.room) {
    out.room = 2 * (out.length + length) + 64;
    out.text = realloc(out.text, out.room);
    if (!out.text) abort();
  }
  memcpy(out.text + out.length, bytes, length);
  out.length += length;
  if (length) now.last = bytes[length - 1];
}

// ---- Marks ------------------------------------------------------------------------------------------------------

static bool is_word(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c & 0x80);
}

static void put_marks(void) {
  for (size_t i = 0; i < now.marks; i++) put(&now.mark, 1);
}

// Decides about the run of marks, before the character `next`, which is 0 at the end.
static void settle(char next) {
  if (!now.marks) return;
  char mark = now.mark;
  size_t count = now.marks;
  bool blank_after = next == ' ' || next == '\t' || next == '\n' || next == 0, begins = now.line_begins;
  // A rule of three marks alone in its line stays too.
  bool is_rule = begins && count >= 3 && (next == '\n' || next == 0), dropped = false;
  switch (mark) {
    case '`':
      if (begins && count >= 3) {
        now.code_block = !now.code_block;
        now.drop_line = dropped = true;
      } else {
        dropped = !now.code_block;
      }
      break;
    case '#':
      dropped = begins && count <= 6 && blank_after && next != 0;
      break;
    case '>':
      dropped = begins;
      break;
    case '*':
      // A point of a list stays. So does a product: 2 * 3.
      dropped = !is_rule && !((begins && count == 1 && blank_after) || (blank_after && (now.last == ' ' || now.last == 0)));
      break;
    case '_':
      // An underscore inside of a name stays.
      dropped = !is_rule && !(is_word(now.last) && is_word(next)) && !(blank_after && now.last == ' ');
      break;
    case '~':
      dropped = count == 2;
      break;
  }
  if (!dropped) {
    put_marks();
    now.line_begins = false;
  }
  now.marks = 0;
}

static bool is_mark(char c) {
  return c && strchr(now.code_block ? "`" : "`#>*_~", c) != NULL;
}

static void plain(char c) {
  // A long run is a rule across the page, and not a mark.
  if (c && c == now.long_run) return put(&c, 1);
  now.long_run = 0;
  if (is_mark(c)) {
    if (now.marks && now.mark != c) settle(c);
    if (now.marks == MARKS_MAX) {
      put_marks();
      now.marks = 0;
      now.long_run = c;
      return put(&c, 1);
    }
    now.mark = c;
    now.marks++;
    return;
  }
  bool was_mark = now.marks > 0;
  char mark = now.mark;
  size_t before = out.length;
  settle(c);
  if (now.drop_line) {
    if (c == '\n') now.drop_line = false, now.line_begins = true;
    return;
  }
  // The space after the mark of a heading or a quote goes with it.
  if (was_mark && out.length == before && now.line_begins && c == ' ' && (mark == '#' || mark == '>')) return;
  if (c == '\n') now.line_begins = true;
  else if (c != ' ' && c != '\t') now.line_begins = false;
  if (c) put(&c, 1);
}

// ---- Links ------------------------------------------------------------------------------------------------------

// What looked like a link is none: its bytes are text.
static void give_up_link(void) {
  link_t was = now.link;
  now.link = PLAIN;
  plain('[');
  for (size_t i = 0; i < now.text_length; i++) plain(now.link_text[i]);
  if (was >= LINK_MIDDLE) plain(']');
  if (was == LINK_ADDRESS) {
    plain('(');
    for (size_t i = 0; i < now.address_length; i++) plain(now.address[i]);
  }
}

// [text](address) becomes: text (address).
static void end_link(void) {
  now.link = PLAIN;
  for (size_t i = 0; i < now.text_length; i++) plain(now.link_text[i]);
  settle(' ');
  if (now.address_length == 0) return;
  put(" (", 2);
  put(now.address, now.address_length);
  put(")", 1);
}

static void step(char c) {
  switch (now.link) {
    case PLAIN:
      if (c == '[' && !now.code_block && !(now.marks && now.mark == '`')) {
        settle(c);
        now.link = LINK_TEXT;
        now.text_length = now.address_length = 0;
      } else {
        plain(c);
      }
      return;
    case LINK_TEXT:
      if (c == ']') {
        now.link = LINK_MIDDLE;
      } else if (c == '\n' || c == '[' || c == 0 || now.text_length == LINK_MAX) {
        give_up_link();
        step(c);
      } else {
        now.link_text[now.text_length++] = c;
      }
      return;
    case LINK_MIDDLE:
      if (c == '(') {
        now.link = LINK_ADDRESS;
      } else {
        give_up_link();
        step(c);
      }
      return;
    case LINK_ADDRESS:
      if (c == ')') {
        end_link();
      } else if (c == '\n' || c == ' ' || c == 0 || now.address_length == LINK_MAX) {
        give_up_link();
        step(c);
      } else {
        now.address[now.address_length++] = c;
      }
      return;
  }
}

// ---- The plugin -------------------------------------------------------------------------------------------------

void exports_firebox_plugin_lifecycle_describe(exports_firebox_plugin_lifecycle_info_t *ret) {
  plugin_string_dup(&ret->name, "plain-text");
  plugin_string_dup(&ret->version, "0.1.0");
  plugin_string_dup(&ret->description, "Removes the marks of Markdown from answers.");
}

bool exports_firebox_plugin_lifecycle_init(plugin_string_t *config_json, plugin_string_t *err) {
  bool is_empty = true;
  for (size_t i = 0; i < config_json->len; i++) is_empty &= strchr("{} \t\r\n", config_json->ptr[i]) != NULL;
  plugin_string_free(config_json);
  if (!is_empty) plugin_string_dup(err, "there are no configuration keys");
  return is_empty;
}

// The text that was written since the last call.
static void taken(plugin_string_t *text) {
  plugin_string_dup_n(text, out.text ? out.text : "", out.length);
  out.length = 0;
}

bool exports_firebox_plugin_text_push(plugin_string_t *chunk, exports_firebox_plugin_text_verdict_t *ret,
                                      plugin_string_t *err) {
  (void)err;
  for (size_t i = 0; i < chunk->len; i++) {
    // A NUL byte stands for the end.
    if (chunk->ptr[i]) step((char)chunk->ptr[i]);
  }
  plugin_string_free(chunk);
  ret->tag = EXPORTS_FIREBOX_PLUGIN_TEXT_VERDICT_EMIT;
  taken(&ret->val.emit);
  return true;
}

bool exports_firebox_plugin_text_finish(plugin_string_t *ret, plugin_string_t *err) {
  (void)err;
  step(0);
  settle(0);
  taken(ret);
  memset(&now, 0, sizeof now);
  now.line_begins = true;
  return true;
}
