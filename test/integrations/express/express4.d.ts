/** Express 4 under another name, beside the 5 that is tested first; their types are alike in all that is used here. */
declare module 'express4' {
  import express from 'express';
  export default express;
}
