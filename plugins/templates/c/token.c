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

// The state of one message. A request for several answers has a session for each.
struct exports_firebox_plugin_token_session_t {
  size_t calls;
};

// Called at the start of each message of the assistant. firebox_plugin_vocabulary_spell gives the bytes of tokens.
bool exports_firebox_plugin_token_static_session_start(exports_firebox_plugin_token_sequence_t *sequence,
                                                       exports_firebox_plugin_token_own_session_t *ret,
                                                       plugin_string_t *err) {
  (void)err;
  exports_firebox_plugin_token_sequence_free(sequence);
  exports_firebox_plugin_token_session_t *session = calloc(1, sizeof *session);
  if (!session) abort();
  *ret = exports_firebox_plugin_token_session_new(session);
  return true;
}

void exports_firebox_plugin_token_session_destructor(exports_firebox_plugin_token_session_t *session) { free(session); }

// With candidates, `next` sees the most likely tokens. With hold_back it can take tokens back.
void exports_firebox_plugin_token_method_session_needs(exports_firebox_plugin_token_borrow_session_t session,
                                                       exports_firebox_plugin_token_needs_t *ret) {
  (void)session;
  ret->candidates = 0;
  ret->hold_back = 0;
}

// Called before each token. Other tags are ..._ACTION_ALLOW, _ALLOW_MASK, _FORCE, _BACKTRACK and _STOP.
bool exports_firebox_plugin_token_method_session_next(exports_firebox_plugin_token_borrow_session_t session,
                                                      exports_firebox_plugin_token_step_t *step,
                                                      exports_firebox_plugin_token_action_t *ret,
                                                      plugin_string_t *err) {
  (void)err;
  session->calls++;
  ret->tag = EXPORTS_FIREBOX_PLUGIN_TOKEN_ACTION_KEEP;
  if (step->accepted.len > 0) {
    exports_firebox_plugin_token_weighted_t *bias = &ret->val.bias;
    ret->tag = EXPORTS_FIREBOX_PLUGIN_TOKEN_ACTION_BIAS;
    bias->tokens.ptr = malloc(sizeof *bias->tokens.ptr);
    bias->values.ptr = malloc(sizeof *bias->values.ptr);
    if (!bias->tokens.ptr || !bias->values.ptr) abort();
    bias->tokens.len = bias->values.len = 1;
    bias->tokens.ptr[0] = step->accepted.ptr[step->accepted.len - 1];
    bias->values.ptr[0] = -100;
  }
  plugin_list_u32_free(&step->accepted);
  plugin_list_u32_free(&step->candidates.tokens);
  plugin_list_f32_free(&step->candidates.values);
  return true;
}
