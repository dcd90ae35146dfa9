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

void exports_firebox_plugin_tool_definitions(exports_firebox_plugin_tool_list_definition_t *ret) {
  ret->ptr = calloc(1, sizeof *ret->ptr);
  ret->len = 1;
  plugin_string_dup(&ret->ptr->name, "shout");
  plugin_string_dup(&ret->ptr->description, "Turns a text into upper case.");
  plugin_string_dup(&ret->ptr->input_schema_json,
                    "{\"type\": \"object\", \"properties\": {\"text\": {\"type\": \"string\"}},"
                    " \"required\": [\"text\"], \"additionalProperties\": false}");
  ret->ptr->effects = EXPORTS_FIREBOX_PLUGIN_TOOL_EFFECTS_READ_ONLY;
}

// The host has checked that the arguments fit the schema. An error is a result that the model reads.
void exports_firebox_plugin_tool_call(plugin_string_t *name, plugin_string_t *arguments_json,
                                      exports_firebox_plugin_tool_outcome_t *ret) {
  char *text = firebox_json_string(arguments_json, "text");
  ret->content.ptr = calloc(1, sizeof *ret->content.ptr);
  ret->content.len = 1;
  ret->is_error = text == NULL;
  if (text) {
    for (char *at = text; *at; at++) *at = (char)toupper((unsigned char)*at);
  }
  plugin_string_dup(&ret->content.ptr->val.text, text ? text : "error: there is no text");
  free(text);
  plugin_string_free(name);
  plugin_string_free(arguments_json);
}
