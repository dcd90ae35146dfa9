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

// Called with all texts of a request, before the encoder.
bool exports_firebox_plugin_embedding_before(exports_firebox_plugin_embedding_request_t *request,
                                             exports_firebox_plugin_embedding_verdict_t *ret, plugin_string_t *err) {
  static const char PURPOSE[] = "query: ";
  (void)err;
  ret->tag = EXPORTS_FIREBOX_PLUGIN_EMBEDDING_VERDICT_REPLACE;
  plugin_list_string_t *texts = &ret->val.replace;
  texts->len = request->texts.len;
  texts->ptr = calloc(texts->len, sizeof *texts->ptr);
  if (!texts->ptr) abort();
  for (size_t i = 0; i < texts->len; i++) {
    const plugin_string_t *from = &request->texts.ptr[i];
    plugin_string_t *to = &texts->ptr[i];
    to->len = sizeof PURPOSE - 1 + from->len;
    to->ptr = malloc(to->len);
    if (!to->ptr) abort();
    memcpy(to->ptr, PURPOSE, sizeof PURPOSE - 1);
    memcpy(to->ptr + sizeof PURPOSE - 1, from->ptr, from->len);
  }
  exports_firebox_plugin_embedding_request_free(request);
  return true;
}

// Called with all vectors of the request: one for each text, one after the other in `values`.
bool exports_firebox_plugin_embedding_after(exports_firebox_plugin_embedding_vectors_t *vectors,
                                            exports_firebox_plugin_embedding_vectors_verdict_t *ret,
                                            plugin_string_t *err) {
  (void)err;
  uint32_t all = vectors->dimensions, kept = all > 1 ? all / 2 : 1;
  size_t count = all > 0 ? vectors->values.len / all : 0;
  // The shorter vectors take the place of the longer ones, which are no longer needed.
  for (size_t i = 0; i < count; i++) {
    memmove(vectors->values.ptr + i * kept, vectors->values.ptr + i * all, kept * sizeof(float));
  }
  vectors->dimensions = kept;
  vectors->values.len = count * kept;
  ret->tag = EXPORTS_FIREBOX_PLUGIN_EMBEDDING_VECTORS_VERDICT_REPLACE;
  ret->val.replace = *vectors;
  return true;
}
