// Generated. The functions of the stages that the plugin does not have.
#include "plugin.h"

#ifndef FIREBOX_STAGE_PROMPT
bool exports_firebox_plugin_prompt_process(exports_firebox_plugin_prompt_request_t *request, exports_firebox_plugin_prompt_verdict_t *ret, plugin_string_t *err) { __builtin_trap(); }
#endif

#ifndef FIREBOX_STAGE_TOKEN
bool exports_firebox_plugin_token_static_session_start(exports_firebox_plugin_token_sequence_t *sequence, exports_firebox_plugin_token_own_session_t *ret, plugin_string_t *err) { __builtin_trap(); }
void exports_firebox_plugin_token_method_session_needs(exports_firebox_plugin_token_borrow_session_t self, exports_firebox_plugin_token_needs_t *ret) { __builtin_trap(); }
bool exports_firebox_plugin_token_method_session_next(exports_firebox_plugin_token_borrow_session_t self, exports_firebox_plugin_token_step_t *step, exports_firebox_plugin_token_action_t *ret, plugin_string_t *err) { __builtin_trap(); }
void exports_firebox_plugin_token_session_destructor(exports_firebox_plugin_token_session_t *rep) { __builtin_trap(); }
#endif

#ifndef FIREBOX_STAGE_TEXT
bool exports_firebox_plugin_text_push(plugin_string_t *chunk, exports_firebox_plugin_text_verdict_t *ret, plugin_string_t *err) { __builtin_trap(); }
bool exports_firebox_plugin_text_finish(plugin_string_t *ret, plugin_string_t *err) { __builtin_trap(); }
#endif

#ifndef FIREBOX_STAGE_TOOL_CALL
bool exports_firebox_plugin_tool_call_before(exports_firebox_plugin_tool_call_tool_call_t *call, exports_firebox_plugin_tool_call_verdict_t *ret, plugin_string_t *err) { __builtin_trap(); }
bool exports_firebox_plugin_tool_call_after(exports_firebox_plugin_tool_call_tool_call_t *call, exports_firebox_plugin_tool_call_outcome_t *outcome, exports_firebox_plugin_tool_call_outcome_verdict_t *ret, plugin_string_t *err) { __builtin_trap(); }
#endif

#ifndef FIREBOX_STAGE_TOOL
void exports_firebox_plugin_tool_definitions(exports_firebox_plugin_tool_list_definition_t *ret) { __builtin_trap(); }
void exports_firebox_plugin_tool_call(plugin_string_t *name, plugin_string_t *arguments_json, exports_firebox_plugin_tool_outcome_t *ret) { __builtin_trap(); }
#endif

#ifndef FIREBOX_STAGE_EMBEDDING
bool exports_firebox_plugin_embedding_before(exports_firebox_plugin_embedding_request_t *request, exports_firebox_plugin_embedding_verdict_t *ret, plugin_string_t *err) { __builtin_trap(); }
bool exports_firebox_plugin_embedding_after(exports_firebox_plugin_embedding_vectors_t *vectors, exports_firebox_plugin_embedding_vectors_verdict_t *ret, plugin_string_t *err) { __builtin_trap(); }
#endif

// Called after functions whose results need no memory.
__attribute__((__export_name__("cabi_post_firebox:plugin/token@0.1.0#[method]session.needs")))
void __firebox_nothing_to_free_1(uint8_t *result) { (void)result; }
