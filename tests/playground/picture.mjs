// Takes a picture of the playground of gateway/demo: picture.mjs URL FILE PSQL-HOST [light|dark] [WIDTH HEIGHT]
import { execFileSync } from 'node:child_process';
import { chromium } from 'playwright-core';
import { until } from './kit.mjs';

const [url, path, host, colorScheme = 'light', width = '1200', height = '740'] = process.argv.slice(2);
const FILLED_MS = Number(process.env.FILLED_MS ?? 45000); // until the plots have something to show
const sql = (statement) => execFileSync('psql', ['-qX', '-h', host, '-U', 'shop', '-d', 'shop', '-c', statement], { encoding: 'utf8' });

const browser = await chromium.launch({ executablePath: process.env.BROWSER, args: ['--headless', '--no-sandbox', '--disable-gpu'] });
const page = await browser.newPage({ viewport: { width: Number(width), height: Number(height) }, colorScheme });
const rows = async (kind) => page.locator(`.row.${kind}:visible`).count();
await page.goto(url);
await until(async () => await page.locator('.chip.open').count() === 2, 'the subscriptions');
await page.waitForTimeout(FILLED_MS);
await page.getByLabel('Channels or patterns').fill('orders, chat/lobby');
await page.keyboard.press('Enter');
await page.getByLabel('Channel', { exact: true }).fill('chat/lobby');
await page.getByRole('button', { name: 'Publish', exact: true }).click();
sql("insert into orders (item, amount) values ('tea', 3)");
sql("select pg_terminate_backend(pid) from pg_stat_activity where application_name like '%listen%'"); // what that missed nobody knows
await until(async () => await rows('gap') > 0, 'a gap', 60000);
sql("insert into orders (item, amount) values ('milk', 2)");
sql("select eventgate.publish('parcel/7', '{\"at\": \"Graz\", \"next\": \"Wien\"}', type => 'moved')");
const moved = page.locator('.row.event:visible', { hasText: 'next' });
await moved.waitFor();
await until(async () => await page.locator('.row.gap ~ .row.event:visible').count() > 4, 'events behind it', 60000);
await moved.click();
await page.mouse.move(0, 0);
await page.screenshot({ path });
await browser.close();
