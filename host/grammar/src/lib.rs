//! Grammars that a model's output keeps to, token by token.
