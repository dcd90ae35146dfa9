#include "bindings/firebox.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

// Called once when the plugin is loaded.
void exports_firebox_plugin_lifecycle_describe(exports_firebox_plugin_lifecycle_info_t *ret) {
  plugin_string_dup(&ret->name, "{{name}}");
  plugin_string_dup(&ret->version, "0.1.0");
  plugin_string_dup(&ret->description, "{{description}}");
}

// Called once for each instance, before anything else. To refuse a configuration, set `err` and return false.
bool exports_firebox_plugin_lifecycle_init(plugin_string_t *config_json, plugin_string_t *err) {
  (void)err;
  plugin_string_free(config_json);
  return true;
}

// Characters of a result that the model reads at most.
enum { CHARACTERS_MAX = 20 };

static bool contains(const plugin_string_t *text, const char *word) {
  size_t length = strlen(word);
  for (size_t at = 0; at + length <= text->len; at++) {
    if (memcmp(text->ptr + at, word, length) == 0) return true;
  }
  return false;
}

// Called before each call of any tool, those of MCP servers included.
bool exports_firebox_plugin_tool_call_before(exports_firebox_plugin_tool_call_tool_call_t *call,
                                             exports_firebox_plugin_tool_call_verdict_t *ret, plugin_string_t *err) {
  (void)err;
  ret->tag = EXPORTS_FIREBOX_PLUGIN_TOOL_CALL_VERDICT_UNCHANGED;
  if (contains(&call->arguments_json, "\"/etc/")) {
    ret->tag = EXPORTS_FIREBOX_PLUGIN_TOOL_CALL_VERDICT_REFUSE;
    plugin_string_dup(&ret->val.refuse, "paths of the system are not allowed");
  }
  exports_firebox_plugin_tool_call_tool_call_free(call);
  return true;
}

// Called with the result of each call that ran.
bool exports_firebox_plugin_tool_call_after(exports_firebox_plugin_tool_call_tool_call_t *call,
                                            exports_firebox_plugin_tool_call_outcome_t *outcome,
                                            exports_firebox_plugin_tool_call_outcome_verdict_t *ret,
                                            plugin_string_t *err) {
  static const char MARK[] = "…";
  (void)err;
  ret->tag = EXPORTS_FIREBOX_PLUGIN_TOOL_CALL_OUTCOME_VERDICT_UNCHANGED;
  // Every byte but those that continue a character begins one.
  const plugin_string_t *content = &outcome->content;
  size_t end = 0, characters = 0;
  for (; end < content->len; end++) {
    if ((content->ptr[end] & 0xc0) != 0x80 && ++characters > CHARACTERS_MAX) break;
  }
  if (end < content->len) {
    char *text = malloc(end + sizeof MARK);
    if (!text) abort();
    memcpy(text, content->ptr, end);
    memcpy(text + end, MARK, sizeof MARK);
    ret->tag = EXPORTS_FIREBOX_PLUGIN_TOOL_CALL_OUTCOME_VERDICT_REWRITE;
    plugin_string_set(&ret->val.rewrite.content, text);
    ret->val.rewrite.is_error = outcome->is_error;
  }
  exports_firebox_plugin_tool_call_tool_call_free(call);
  exports_firebox_plugin_tool_call_outcome_free(outcome);
  return true;
}
