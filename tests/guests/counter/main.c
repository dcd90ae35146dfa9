// A tool that uses what its operator grants: its configuration, the log, a bucket, metrics and a secret.
#include "bindings/firebox.h"

#include <stdio.h>
#include <stdlib.h>

void exports_firebox_plugin_lifecycle_describe(exports_firebox_plugin_lifecycle_info_t *ret) {
  plugin_string_dup(&ret->name, "counter");
  plugin_string_dup(&ret->version, "0.1.0");
  plugin_string_dup(&ret->description, "Counts its calls.");
}

bool exports_firebox_plugin_lifecycle_init(plugin_string_t *config_json, plugin_string_t *err) {
  (void)err;
  plugin_string_free(config_json);
  return true;
}

void exports_firebox_plugin_tool_definitions(exports_firebox_plugin_tool_list_definition_t *ret) {
  ret->ptr = calloc(1, sizeof *ret->ptr);
  ret->len = 1;
  plugin_string_dup(&ret->ptr->name, "count");
  plugin_string_dup(&ret->ptr->description, "Counts its calls.");
  plugin_string_dup(&ret->ptr->input_schema_json, "{\"type\": \"object\"}");
  ret->ptr->effects = EXPORTS_FIREBOX_PLUGIN_TOOL_EFFECTS_READ_ONLY;
}

// Adds one to the number of calls. False if the bucket was not granted.
static bool add_one(int64_t *sum) {
  plugin_string_t name, key;
  plugin_string_set(&name, "counts");
  plugin_string_set(&key, "calls");
  wasi_keyvalue_0_2_0_draft2_store_own_bucket_t bucket;
  wasi_keyvalue_0_2_0_draft2_store_error_t error;
  if (!wasi_keyvalue_0_2_0_draft2_store_open(&name, &bucket, &error)) {
    wasi_keyvalue_0_2_0_draft2_store_error_free(&error);
    return false;
  }
  bool added = wasi_keyvalue_0_2_0_draft2_atomics_increment(
      wasi_keyvalue_0_2_0_draft2_store_borrow_bucket(bucket), &key, 1, sum, &error);
  if (!added) wasi_keyvalue_0_2_0_draft2_store_error_free(&error);
  wasi_keyvalue_0_2_0_draft2_store_bucket_drop_own(bucket);
  return added;
}

// Whether there is a placeholder of the secret.
static bool has_key(void) {
  plugin_string_t name, placeholder;
  firebox_plugin_secrets_error_t error;
  plugin_string_set(&name, "api-key");
  if (!firebox_plugin_secrets_placeholder(&name, &placeholder, &error)) {
    firebox_plugin_secrets_error_free(&error);
    return false;
  }
  plugin_string_free(&placeholder);
  return true;
}

static void observe(void) {
  plugin_string_t name, context, message;
  plugin_string_set(&name, "calls");
  plugin_string_set(&context, "counter");
  plugin_string_set(&message, "called");
  firebox_plugin_metrics_labels_t labels = {NULL, 0};
  firebox_plugin_metrics_error_t error;
  if (!firebox_plugin_metrics_count(&name, 1, &labels, &error)) firebox_plugin_metrics_error_free(&error);
  wasi_logging_0_1_0_draft_logging_log(WASI_LOGGING_0_1_0_DRAFT_LOGGING_LEVEL_INFO, &context, &message);
}

void exports_firebox_plugin_tool_call(plugin_string_t *name, plugin_string_t *arguments_json,
                                      exports_firebox_plugin_tool_outcome_t *ret) {
  plugin_string_free(name);
  plugin_string_free(arguments_json);
  observe();
  plugin_string_t key;
  plugin_option_string_t unit;
  wasi_config_0_2_0_rc_1_store_error_t error;
  plugin_string_set(&key, "unit");
  bool read = wasi_config_0_2_0_rc_1_store_get(&key, &unit, &error);
  if (!read) wasi_config_0_2_0_rc_1_store_error_free(&error);
  int64_t sum = 0;
  char text[100];
  ret->is_error = !add_one(&sum);
  snprintf(text, sizeof text, "%lld %.*s, %s", (long long)sum, read && unit.is_some ? (int)unit.val.len : 0,
           read && unit.is_some ? (const char *)unit.val.ptr : "", has_key() ? "with a key" : "without a key");
  if (read) plugin_option_string_free(&unit);
  ret->content.ptr = calloc(1, sizeof *ret->content.ptr);
  ret->content.len = 1;
  plugin_string_dup(&ret->content.ptr->val.text, ret->is_error ? "the bucket was not granted" : text);
}
