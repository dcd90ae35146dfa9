//! `config.json` of a model.

use crate::metadata::{Row, Table, harmless, harmless_as, honoured, honoured_by, object, rope};

const LLAMA: &str = "LlamaForCausalLM";
const MISTRAL: &str = "MistralForCausalLM";
const QWEN2: &str = "Qwen2ForCausalLM";
const QWEN3: &str = "Qwen3ForCausalLM";
const DECODERS: &[&str] = &[LLAMA, MISTRAL, QWEN2, QWEN3];
const QWEN: &[&str] = &[QWEN2, QWEN3];
const BERT: &[&str] = crate::arch::ENCODERS;

const TRAINING: &str = "only training reads it";
const OUTPUTS: &str = "which outputs a call of the library returns";
const CLASSIFIER: &str = "the classifier's labels; there is no classifier here";
const SAMPLING: &str = "transformers drops sampling settings in this file; those of generation_config.json count";
const RECORD: &str = "a record of how the file was made";
const TOKENIZER: &str = "the files of the tokenizer say this";
const LOADING: &str = "how the library loads or splits weights, not what they are";
const RUNTIME: &str = "how a library computes, not what";

/// The keys of the file.
pub(crate) const CONFIG: Table = Table { name: "config.json", rows: ROWS };

const ROWS: &[Row] = &[
    honoured("architectures", "arch"),
    honoured("model_type", "arch: refused where it contradicts the architecture"),
    honoured("quantization_config", "arch: refused"),
    honoured("compression_config", "arch: refused, the older name of a quantization by compressed-tensors"),
    honoured("quantization", "arch: refused, a quantization by MLX"),
    // The shape.
    honoured("hidden_size", "arch::config, arch::bert"),
    honoured("intermediate_size", "arch::config, arch::bert"),
    honoured("num_hidden_layers", "arch::config, arch::bert"),
    honoured("num_attention_heads", "arch::config, arch::bert"),
    honoured("vocab_size", "arch::config, arch::bert"),
    honoured("max_position_embeddings", "arch::config, arch::bert"),
    honoured("hidden_act", "arch::config, arch::bert"),
    honoured_by(DECODERS, "num_key_value_heads", "arch::config"),
    honoured_by(DECODERS, "head_dim", "arch::config"),
    honoured_by(DECODERS, "rms_norm_eps", "arch::config"),
    honoured("tie_word_embeddings", "arch::config; a BERT has no head here that could be tied"),
    honoured_by(&[LLAMA, QWEN3], "attention_bias", "arch::llama, arch::qwen3"),
    honoured_by(&[LLAMA], "mlp_bias", "arch::llama"),
    // Positions.
    honoured_by(DECODERS, "rope_theta", "arch::rotary"),
    object("rope_scaling", &rope::ROPE, "arch::rotary"),
    object("rope_parameters", &rope::ROPE, "arch::rotary"),
    honoured_by(DECODERS, "partial_rotary_factor", "arch::rotary"),
    honoured_by(DECODERS, "original_max_position_embeddings", "arch::rotary"),
    // Windows.
    honoured_by(&[MISTRAL, QWEN2, QWEN3], "sliding_window", "arch::mistral, arch::qwen2"),
    honoured_by(QWEN, "use_sliding_window", "arch::qwen2"),
    honoured_by(QWEN, "max_window_layers", "arch::qwen2"),
    honoured_by(QWEN, "layer_types", "arch::qwen2"),
    // BERT.
    honoured_by(BERT, "layer_norm_eps", "arch::bert"),
    honoured_by(BERT, "type_vocab_size", "arch::bert"),
    honoured_by(BERT, "position_embedding_type", "arch::bert"),
    honoured_by(BERT, "is_decoder", "arch::bert: refused"),
    harmless_as("add_cross_attention", &["false"], "a decoder's attention to an encoder"),
    harmless_as("is_encoder_decoder", &["false"], "a model of two halves"),
    harmless("pooler_fc_size", "BERT's pooler is no part of sentence vectors"),
    harmless("pooler_num_attention_heads", "BERT's pooler is no part of sentence vectors"),
    harmless("pooler_num_fc_layers", "BERT's pooler is no part of sentence vectors"),
    harmless("pooler_size_per_head", "BERT's pooler is no part of sentence vectors"),
    harmless("pooler_type", "BERT's pooler is no part of sentence vectors"),
    harmless("directionality", "a note of the first BERT files"),
    // Tokens.
    honoured("eos_token_id", "codec::ends"),
    harmless("bos_token_id", TOKENIZER),
    harmless("pad_token_id", "padding is never computed with"),
    harmless("sep_token_id", TOKENIZER),
    harmless("cls_token_id", TOKENIZER),
    harmless("mask_token_id", TOKENIZER),
    harmless("unk_token_id", TOKENIZER),
    harmless("decoder_start_token_id", "a model of two halves"),
    honoured("tokenizer_class", "codec::tokenizer: where tokenizer_config.json names none"),
    // Training.
    harmless("attention_dropout", TRAINING),
    harmless("attention_probs_dropout_prob", TRAINING),
    harmless("hidden_dropout_prob", TRAINING),
    harmless("hidden_dropout", TRAINING),
    harmless("resid_pdrop", TRAINING),
    harmless("embd_pdrop", TRAINING),
    harmless("attn_pdrop", TRAINING),
    harmless("classifier_dropout", TRAINING),
    harmless("initializer_range", TRAINING),
    harmless("initializer_factor", TRAINING),
    harmless("gradient_checkpointing", TRAINING),
    harmless("router_aux_loss_coef", TRAINING),
    harmless("finetuning_task", CLASSIFIER),
    harmless("id2label", CLASSIFIER),
    harmless("label2id", CLASSIFIER),
    harmless("num_labels", CLASSIFIER),
    harmless("problem_type", CLASSIFIER),
    harmless("output_past", OUTPUTS),
    harmless("output_attentions", OUTPUTS),
    harmless("output_hidden_states", OUTPUTS),
    harmless("return_dict", OUTPUTS),
    harmless("use_return_dict", OUTPUTS),
    harmless("torchscript", OUTPUTS),
    harmless("use_cache", RUNTIME),
    harmless("chunk_size_feed_forward", RUNTIME),
    harmless("attn_implementation", RUNTIME),
    harmless("_attn_implementation", RUNTIME),
    harmless("_attn_implementation_autoset", RUNTIME),
    harmless("_attn_implementation_internal", RUNTIME),
    harmless("_experts_implementation", RUNTIME),
    harmless("experts_implementation", RUNTIME),
    harmless("use_bfloat16", RUNTIME),
    harmless("use_flash_attn", RUNTIME),
    harmless("_flash_attn_2_enabled", RUNTIME),
    harmless("torch_dtype", "computation is in f32; each weight has the type it is stored in"),
    harmless("dtype", "computation is in f32; each weight has the type it is stored in"),
    harmless("pretraining_tp", LOADING),
    harmless("tensor_parallel", LOADING),
    harmless("base_model_tp_plan", LOADING),
    harmless("base_model_pp_plan", LOADING),
    harmless("pruned_heads", "weights are checked by their shapes"),
    harmless("tie_encoder_decoder", "a model of two halves"),
    harmless("cross_attention_hidden_size", "a model of two halves"),
    harmless("prefix", "text before a prompt that only old pipelines of transformers read"),
    harmless("task_specific_params", "settings of old pipelines of transformers"),
    // Records.
    honoured("transformers_version", "codec::tokenizer: which of Mistral's files have wrong words"),
    harmless("_name_or_path", RECORD),
    harmless("name_or_path", RECORD),
    harmless("_commit_hash", RECORD),
    harmless("model_name", RECORD),
    harmless("max_sequence_length", "max_position_embeddings counts, as in transformers"),
    harmless_as("use_mrope", &["false"], "rotary embedding of images"),
    harmless("eos_token_ids", "a name of 2019, which transformers does not read"),
    harmless("transformers.js_config", RECORD),
    harmless("unsloth_fixed", RECORD),
    harmless("unsloth_version", RECORD),
    harmless("is_llama_config", RECORD),
    harmless_as("rope_interleaved", &["false"], "pairs of elements lie half a head apart, as Hugging Face stores them"),
    // Sampling.
    harmless("max_length", SAMPLING),
    harmless("min_length", SAMPLING),
    harmless("do_sample", SAMPLING),
    harmless("early_stopping", SAMPLING),
    harmless("num_beams", SAMPLING),
    harmless("num_beam_groups", SAMPLING),
    harmless("diversity_penalty", SAMPLING),
    harmless("temperature", SAMPLING),
    harmless("top_k", SAMPLING),
    harmless("top_p", SAMPLING),
    harmless("typical_p", SAMPLING),
    harmless("repetition_penalty", SAMPLING),
    harmless("length_penalty", SAMPLING),
    harmless("no_repeat_ngram_size", SAMPLING),
    harmless("encoder_no_repeat_ngram_size", SAMPLING),
    harmless("bad_words_ids", SAMPLING),
    harmless("num_return_sequences", SAMPLING),
    harmless("output_scores", SAMPLING),
    harmless("return_dict_in_generate", SAMPLING),
    harmless("forced_bos_token_id", SAMPLING),
    harmless("forced_eos_token_id", SAMPLING),
    harmless("remove_invalid_values", SAMPLING),
    harmless("exponential_decay_length_penalty", SAMPLING),
    harmless("suppress_tokens", SAMPLING),
    harmless("begin_suppress_tokens", SAMPLING),
    harmless("epsilon_cutoff", SAMPLING),
    harmless("eta_cutoff", SAMPLING),
    harmless("encoder_repetition_penalty", SAMPLING),
];
