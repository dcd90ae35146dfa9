// Helpers for Firebox plugins in C. The types and the functions to implement are in plugin.h.
#ifndef FIREBOX_H
#define FIREBOX_H

#include "plugin.h"

// Writes a line to the host's log. The level is one of FIREBOX_PLUGIN_LOG_LEVEL_*.
void firebox_log(uint8_t level, const char *line);

// The member `key` of a JSON object, if it is a string: NUL-terminated, in new memory. NULL without such a member.
char *firebox_json_string(const plugin_string_t *object, const char *key);

#endif
