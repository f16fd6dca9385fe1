use proptest::prelude::*;

use super::provider_message;

#[test]
fn hostile_messages_return() {
    let seeds: &[&[u8]] = &[
        b"",
        b"null",
        b"[]",
        b"{}",
        b"\xff\xfe",
        br#"{"type":7}"#,
        br#"{"type":"Results"}"#,
        br#"{"type":"Results","start":1e308,"duration":1e308,"is_final":true,"channel":{}}"#,
        br#"{"type":"Results","start":1e999,"channel":{"alternatives":[]}}"#,
        br#"{"type":"Results","channel":{"alternatives":[{"transcript":"x","confidence":1e300}]}}"#,
        br#"{"type":"TurnInfo","event":"EndOfTurn","audio_window_end":1e300,"trigger":"manual","words":[{"confidence":-1}]}"#,
        br#"{"type":"Turn","turn_order":18446744073709551615,"end_of_turn":true,"words":[{"end":1e300}]}"#,
        br#"{"type":"Error","error_code":65535,"code":"NET-0001"}"#,
        br#"{"type":"input_audio_buffer.committed","item_id":"item_2","previous_item_id":"item_1"}"#,
        br#"{"type":"conversation.item.input_audio_transcription.completed","item_id":"","transcript":"x"}"#,
        br#"{"tokens":[{"text":"<end>"},{"text":"x","is_final":true},{"text":"<fin>"}],"error_code":null}"#,
        br#"{"message":"AddTranscript","metadata":{"end_time":-1e300,"transcript":"x"},"results":[{}]}"#,
        br#"{"message":"EndOfUtterance","forced":true}"#,
        br#"{"text":"x","result":[{"conf":1e38}],"is_final":true,"start_time":-1,"timestamps":[1e300]}"#,
        br#"{"message_type":"committed_transcript","text":"x"}"#,
        br#"Done!"#,
        br#"{"type":"response.output_audio.delta","response_id":"r","item_id":"i","delta":"AAA="}"#,
        br#"{"type":"response.output_audio.delta","delta":"!!!"}"#,
        br#"{"type":"response.done","response":{"id":"r","status":"failed","status_details":{"error":{}},"usage":{"input_tokens":1,"input_token_details":{"audio_tokens":18446744073709551615}}}}"#,
        br#"{"type":"response.done","response":{"id":"r","output":[{"type":"function_call","call_id":"c","name":"n"}]}}"#,
        br#"{"type":"error","error":{"event_id":"commit_99999999999","code":null}}"#,
        br#"{"type":"Flushed"}"#,
        br#"{"type":"Cleared"}"#,
        br#"{"audio":"AAA=","contextId":"g0s0","isFinal":true}"#,
        br#"{"audio":"!!!","contextId":"g0s0"}"#,
        br#"{"error":{"code":-1}}"#,
        br#"{"choices":null,"error":"x"}"#,
        b"RIFF\0\0\0\0WAVEdata\0\0\0\0",
        b"RIFF\0\0\0\0WAVEfmt \xff\xff\xff\xff\x01\0\x01\0\0\0\0\0\0\0\0\0\x02\0\x10\0",
        b"data: {\ndata: [DONE]\n\n",
        br#"{"type":"chunk","data":"AAAA","context_id":"g0s0","contextId":"g0s0"}"#,
        br#"{"type":"timestamps","context_id":"g0s0","word_timestamps":{"words":["x"],"end":[1e300]}}"#,
        br#"{"type":"timestamps","contextId":"g0s0","word_timestamps":{"words":["x","x"],"end":[-1]}}"#,
        br#"{"type":"done","context_id":"g0s0","contextId":"nobody's"}"#,
        br#"{"type":"error","status_code":99999}"#,
        br#"{"type":"audio.delta","delta":"AAA="}"#,
        br#"{"type":"audio.done"}"#,
        br#"{"stream_id":"g0s0","audio":"AAAA","audio_end":true}"#,
        br#"{"stream_id":"g0s0","terminated":true,"error_code":401}"#,
        br#"{"audio":null,"contextId":"g0s0","alignment":{"chars":["x"],"charStartTimesMs":[-1]}}"#,
        b"{\"type\":\"audio-chunk\",\"data\":{\"rate\":8000,\"width\":2,\"channels\":1},\"payload_length\":3}\nabc",
        b"{\"type\":\"audio-chunk\",\"data_length\":18446744073709551615}\n",
        br#"{"type":"content_block_delta","index":-1,"delta":{"type":"input_json_delta"}}"#,
        br#"{"type":"content_block_start","content_block":{"type":"tool_use","id":"a","name":"b"}}"#,
        br#"{"type":"message_delta","delta":{"stop_reason":"refusal"},"usage":{"output_tokens":1e9}}"#,
        br#"{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f","args":{}}},{"text":""}]}}]}"#,
        br#"[{"error":{"code":400,"details":[{"reason":"API_KEY_INVALID"}]}}]"#,
    ];
    for seed in seeds {
        provider_message(seed);
    }
    provider_message("[".repeat(100_000).as_bytes());
}

proptest! {
    #[test]
    fn any_octets_return(data in proptest::collection::vec(any::<u8>(), 0..512)) {
        provider_message(&data);
    }

    #[test]
    fn any_near_json_returns(text in r#"\{"(type|audio|choices|error|channel|isFinal|start)":("?(Results|Flushed|Cleared|[0-9e]{1,6}|null|AA==)"?|\[\{\}\]|\{\})\}"#) {
        provider_message(text.as_bytes());
    }
}
