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

// A chunk has whole characters and is not empty. To pass it on as it is, set the tag to ..._VERDICT_PASS.
bool exports_firebox_plugin_text_push(plugin_string_t *chunk, exports_firebox_plugin_text_verdict_t *ret,
                                      plugin_string_t *err) {
  (void)err;
  for (size_t at = 0; at < chunk->len; at++) {
    if (chunk->ptr[at] < 128) chunk->ptr[at] = (uint8_t)toupper(chunk->ptr[at]);
  }
  ret->tag = EXPORTS_FIREBOX_PLUGIN_TEXT_VERDICT_EMIT;
  ret->val.emit = *chunk;
  return true;
}

// Called at the end of the answer. A plugin that held text back returns it here.
bool exports_firebox_plugin_text_finish(plugin_string_t *ret, plugin_string_t *err) {
  (void)err;
  plugin_string_dup(ret, "");
  return true;
}
