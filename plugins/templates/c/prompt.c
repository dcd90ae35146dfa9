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

// Looks for the word in every message. Without it, the messages are passed on as they are.
bool exports_firebox_plugin_prompt_process(exports_firebox_plugin_prompt_request_t *request,
                                           exports_firebox_plugin_prompt_verdict_t *ret, plugin_string_t *err) {
  (void)err;
  static const char WORD[] = "password";
  ret->tag = EXPORTS_FIREBOX_PLUGIN_PROMPT_VERDICT_UNCHANGED;
  for (size_t i = 0; i < request->messages.len; i++) {
    plugin_string_t *text = &request->messages.ptr[i].content;
    for (size_t at = 0; at + sizeof WORD - 1 <= text->len; at++) {
      if (memcmp(text->ptr + at, WORD, sizeof WORD - 1) != 0) continue;
      if (ret->tag == EXPORTS_FIREBOX_PLUGIN_PROMPT_VERDICT_REFUSE) break;
      ret->tag = EXPORTS_FIREBOX_PLUGIN_PROMPT_VERDICT_REFUSE;
      plugin_string_dup(&ret->val.refuse, "please do not send passwords");
    }
  }
  exports_firebox_plugin_prompt_request_free(request);
  return true;
}
