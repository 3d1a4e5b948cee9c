declare module "*/trampoline-x64" {
  const path: string;
  export default path;
}
declare module "*/trampoline-arm64" {
  const path: string;
  export default path;
}
