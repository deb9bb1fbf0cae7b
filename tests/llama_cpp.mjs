// llama.cpp, by node-llama-cpp: how it cuts texts into tokens, and which tokens it then writes, each the likeliest.
// Arguments: index.js of the package, a GGUF file, {"prompts": [...], "count": 8, "context": 64}. Prints JSON.
const [source, modelPath, asked] = process.argv.slice(2);
const {getLlama} = await import(source);
const {prompts, count, context: contextSize} = JSON.parse(asked);
const llama = await getLlama({build: "never", gpu: false, logLevel: "error"});
const model = await llama.loadModel({modelPath});
const exact = {flashAttention: false, experimentalKvCacheKeyType: "F32", experimentalKvCacheValueType: "F32"};
const context = await model.createContext({contextSize, threads: 1, ...exact});
const sequence = context.getSequence();
const found = [];
for (const prompt of prompts) {
    const tokens = model.tokenize(prompt);
    const begin = model.tokens.shouldPrependBosToken ? [model.tokens.bos] : [];
    const written = [];
    for await (const token of sequence.evaluate([...begin, ...tokens], {temperature: 0, yieldEogToken: true})) {
        written.push(token);
        if (written.length >= count) break;
    }
    await sequence.clearHistory();
    found.push({tokens, written, text: model.detokenize(tokens)});
}
console.log(JSON.stringify({bos: model.tokens.bos, eos: model.tokens.eos, found}));
await llama.dispose();
