// A small model of TensorFlow.js, and what it gives: npm install @tensorflow/tfjs, then node make.js.
const tf = require('@tensorflow/tfjs'); const fs=require('fs');
(async () => {
  const L = tf.layers; const x = tf.input({shape:[7,6,3]});
  let y = L.rescaling ? L.rescaling({scale:1/127.5, offset:-1}).apply(x) : x;
  y = L.conv2d({filters:4,kernelSize:3,strides:2,padding:'same',activation:'relu'}).apply(y);
  y = L.batchNormalization({}).apply(y);
  let z = L.separableConv2d({filters:4,kernelSize:2,padding:'same',depthMultiplier:2, activation:'hardSigmoid'}).apply(y);
  z = L.add().apply([y,z]);
  z = L.depthwiseConv2d({kernelSize:3,padding:'same',useBias:false}).apply(z);
  z = L.averagePooling2d({poolSize:3,strides:2,padding:'same'}).apply(z);
  z = L.leakyReLU({alpha:0.2}).apply(z);
  z = L.dropout({rate:0.3}).apply(z);
  z = L.flatten().apply(z);
  z = L.dense({units:5,activation:'softmax'}).apply(z);
  const m = tf.model({inputs:x, outputs:z, name:'tiny'});
  let seed=1; const rnd=()=>{seed=(seed*16807)%2147483647; return seed/2147483647;};
  m.setWeights(m.weights.map(w=>{const v=w.name; const n=w.shape.reduce((a,b)=>a*b,1);
    return tf.tensor(Array.from({length:n},()=> v.includes('variance')||v.includes('gamma')? .5+rnd(): (rnd()-.5)), w.shape);}).map((t,i)=>t));
  const imgs = Array.from({length:2*7*6*3},()=>Math.floor(rnd()*256));
  const out = m.predict(tf.tensor(imgs,[2,7,6,3]));
  await m.save(tf.io.withSaveHandler(async a => {
     const doc={format:'layers-model',generatedBy:a.generatedBy,convertedBy:a.convertedBy,modelTopology:a.modelTopology,weightsManifest:[{paths:['./weights.bin'],weights:a.weightSpecs}]};
     fs.writeFileSync('model.json', JSON.stringify(doc)); fs.writeFileSync('weights.bin', Buffer.from(a.weightData)); return {modelArtifactsInfo:{dateSaved:new Date(),modelTopologyType:'JSON'}};}));
  fs.writeFileSync('given.json', JSON.stringify({images:imgs, scores:Array.from(out.dataSync())}));
})();
